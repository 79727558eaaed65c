{{/* All settings of the server by variable, as YAML: those that follow from other values, below those that are given. */}}
{{- define "ingrain.settings" -}}
{{- $all := dict -}}
{{- if eq .Values.topology "together" }}{{ $_ := set $all "TRITON_GRPC_URL" "127.0.0.1:8001" }}{{ end -}}
{{- if eq .Values.topology "apart" }}{{ $_ := set $all "TRITON_GRPC_URL" (printf "%s-triton:8001" (include "ingrain.fullname" .)) }}{{ end -}}
{{- if ne .Values.topology "alone" -}}
{{- if gt (int .Values.gpu.count) 0 -}}
{{- $_ := set $all "INSTANCE_KIND" "KIND_GPU" -}}
{{- else -}}
{{- /* The server sees the cores of its own container, not those of Triton's. */ -}}
{{- $cpu := dig "limits" "cpu" (dig "requests" "cpu" "" .Values.triton.resources) .Values.triton.resources | toString -}}
{{- $cores := ternary (atoi $cpu) 1 (regexMatch "^[0-9]+$" $cpu) -}}
{{- $instances := min $cores 4 -}}
{{- $_ := set $all "INSTANCE_KIND" "KIND_CPU" -}}
{{- $_ := set $all "MODEL_INSTANCES" (toString $instances) -}}
{{- $_ := set $all "INGRAIN_THREADS_PER_INSTANCE" (toString (div $cores $instances)) -}}
{{- end -}}
{{- end -}}
{{- with .Values.models }}{{ $_ := set $all "INGRAIN_MODELS" (join "," .) }}{{ end -}}
{{- if not .Values.hub.enabled }}{{ $_ := set $all "HF_HUB_OFFLINE" "true" }}{{ end -}}
{{- if .Values.apiKeys.existingSecret }}{{ $_ := set $all "INGRAIN_API_KEYS_FILE" "/etc/ingrain/keys/keys" }}{{ end -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $all "INGRAIN_TLS_CERT_FILE" "/etc/ingrain/tls/tls.crt" -}}
{{- $_ := set $all "INGRAIN_TLS_KEY_FILE" "/etc/ingrain/tls/tls.key" -}}
{{- end -}}
{{- if .Values.localModels.existingClaim }}{{ $_ := set $all "INGRAIN_LOCAL_MODELS_DIR" "/models" }}{{ end -}}
{{- range $name, $value := .Values.settings }}{{ $_ := set $all $name (include "ingrain.text" $value) }}{{ end -}}
{{- toYaml $all -}}
{{- end }}

{{/* The container that serves. */}}
{{- define "ingrain.serverContainer" -}}
name: ingrain
image: {{ include "ingrain.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve]
env:
{{- range $name, $value := include "ingrain.settings" . | fromYaml }}
  - name: {{ $name }}
    value: {{ $value | quote }}
{{- end }}
{{- $cpu := dig "limits" "cpu" "" .Values.resources | toString }}
{{- $own := list }}
{{- range .Values.env }}{{ $own = append $own .name }}{{ end }}
{{- if and (regexMatch "^[0-9]+$" $cpu) (not (has "INGRAIN_EXPORT_THREADS" $own)) }}
  # A conversion would take as many threads as the node has cores.
  - name: INGRAIN_EXPORT_THREADS
    value: {{ $cpu | quote }}
{{- end }}
{{- with .Values.hub.existingSecret }}
  - name: HF_TOKEN
    valueFrom:
      secretKeyRef:
        name: {{ . }}
        key: {{ $.Values.hub.tokenKey }}
{{- end }}
{{- with .Values.env }}
{{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: inference
    containerPort: 8686
  - name: models
    containerPort: 8687
{{- with include "ingrain.grpcPort" . }}
  - name: grpc
    containerPort: {{ . }}
{{- end }}
{{- with include "ingrain.ollamaPort" . }}
  - name: ollama
    containerPort: {{ . }}
{{- end }}
# The ports are open before a model is fetched or converted, and /health answers meanwhile: no conversion, however
# long, fails a probe that restarts the container.
startupProbe:
  httpGet: &health
    path: /health
    port: inference
    scheme: {{ include "ingrain.scheme" . }}
    # The kubelet asks by the pod's address, which INGRAIN_ALLOWED_HOSTS would refuse.
    httpHeaders: &host [{name: Host, value: localhost}]
  periodSeconds: 2
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: {{ div .Values.probes.startupSeconds 2 }}
# The process answers. Neither Triton nor a model can make it fail.
livenessProbe:
  httpGet: *health
  periodSeconds: {{ .Values.probes.periodSeconds }}
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: 6
# The engine answers, and the models of the start are loaded or have failed.
readinessProbe:
  httpGet: {path: /ready, port: inference, scheme: {{ include "ingrain.scheme" . }}, httpHeaders: *host}
  periodSeconds: {{ .Values.probes.periodSeconds }}
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: 2
lifecycle:
  preStop:
    # Endpoints and load balancers forget the pod before it accepts no more connections.
    sleep:
      seconds: {{ .Values.drain.preStopSeconds }}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext: {{- include "ingrain.containerSecurity" . | nindent 2 }}
volumeMounts:
  - {name: repository, mountPath: /repository}
  - {name: cache, mountPath: /cache}
  - {name: tmp, mountPath: /tmp}
{{- if .Values.localModels.existingClaim }}
  - {name: local-models, mountPath: /models, readOnly: true}
{{- end }}
{{- if .Values.apiKeys.existingSecret }}
  - {name: keys, mountPath: /etc/ingrain/keys, readOnly: true}
{{- end }}
{{- if .Values.tls.existingSecret }}
  - {name: tls, mountPath: /etc/ingrain/tls, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The volumes of the pods that serve. */}}
{{- define "ingrain.serverVolumes" -}}
- name: repository
{{- if eq .Values.repository.storage "claim" }}
  persistentVolumeClaim:
    claimName: {{ include "ingrain.repositoryClaim" . }}
{{- else }}
  emptyDir:
    sizeLimit: {{ .Values.repository.size }}
{{- end }}
- name: cache
{{- if .Values.cache.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.cache.existingClaim }}
{{- else }}
  emptyDir:
    sizeLimit: {{ .Values.cache.size }}
{{- end }}
- name: tmp
  emptyDir: {}
{{- with .Values.localModels.existingClaim }}
- name: local-models
  persistentVolumeClaim:
    claimName: {{ . }}
    readOnly: true
{{- end }}
{{- with .Values.apiKeys.existingSecret }}
- name: keys
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      - {key: {{ $.Values.apiKeys.key }}, path: keys}
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
