{{- define "ingrain.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Labels that select pods; of a dict with `root` and `component`. */}}
{{- define "ingrain.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* All labels of an object; of a dict with `root` and `component`. */}}
{{- define "ingrain.labels" -}}
{{ include "ingrain.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: ingrain
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image's name; of a dict with `image` and `tag`, the tag if the values have none. */}}
{{- define "ingrain.image" -}}
{{- $name := printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- if .image.digest }}{{ printf "%s@%s" $name .image.digest }}{{ else }}{{ $name }}{{ end -}}
{{- end }}

{{/* A value as the text of an environment variable: YAML's numbers come as floats, and 1000000 would be 1e+06. */}}
{{- define "ingrain.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ printf "%.0f" . }}{{ else }}{{ . }}{{ end -}}
{{- end }}

{{- define "ingrain.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "ingrain.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "ingrain.repositoryClaim" -}}
{{- default (printf "%s-repository" (include "ingrain.fullname" .)) .Values.repository.existingClaim -}}
{{- end }}

{{/* Not empty if Triton reads the graphs from the repository; otherwise they are sent with the load call. */}}
{{- define "ingrain.tritonReads" -}}
{{- if or (eq .Values.topology "together") (and (eq .Values.topology "apart") (eq .Values.repository.storage "claim")) }}yes{{ end -}}
{{- end }}

{{- define "ingrain.grpcPort" -}}
{{- with .Values.settings.INGRAIN_GRPC_PORT }}{{ include "ingrain.text" . }}{{ end -}}
{{- end }}

{{- define "ingrain.ollamaPort" -}}
{{- with .Values.settings.INGRAIN_OLLAMA_PORT }}{{ include "ingrain.text" . }}{{ end -}}
{{- end }}

{{- define "ingrain.scheme" -}}
{{ ternary "HTTPS" "HTTP" (not (empty .Values.tls.existingSecret)) }}
{{- end }}

{{/* Seconds that the server's container has to end: what comes before SIGTERM, the server's own limit, and a margin. */}}
{{- define "ingrain.graceSeconds" -}}
{{- $requests := default 20 .Values.settings.INGRAIN_SHUTDOWN_TIMEOUT_S | float64 | ceil | int -}}
{{- add .Values.drain.preStopSeconds $requests 15 -}}
{{- end }}

{{- define "ingrain.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ include "ingrain.text" .Values.user.id }}
runAsGroup: {{ include "ingrain.text" .Values.user.group }}
fsGroup: {{ include "ingrain.text" .Values.user.group }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "ingrain.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Where pods run; of a dict with `root`, `component` and `values`, those of the component. */}}
{{- define "ingrain.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .values.topologySpreadConstraints }}
{{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else }}
{{- $selector := include "ingrain.selector" (dict "root" .root "component" .component) }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- $selector | nindent 8 }}
{{- end }}
{{- end }}
{{- end }}

{{/* What cannot be combined, said before anything is installed. */}}
{{- define "ingrain.check" -}}
{{- if and (eq .Values.topology "apart") (eq .Values.repository.storage "claim") (not .Values.repository.existingClaim) (not (has "ReadWriteMany" .Values.repository.accessModes)) }}
{{- fail "topology apart with repository.storage claim: front ends and Tritons on several nodes mount the claim, so repository.accessModes must have ReadWriteMany. Or set repository.storage to emptyDir: graphs are then sent to Triton with the load call." }}
{{- end }}
{{- if and (ne .Values.topology "alone") .Values.settings.TRITON_GRPC_URL }}
{{- fail "settings.TRITON_GRPC_URL: the chart sets it to its own Triton. Set topology to alone to use another one." }}
{{- end }}
{{- $settings := include "ingrain.settings" . | fromYaml }}
{{- range .Values.env }}
{{- if or (hasKey $settings .name) (eq .name "HF_TOKEN") }}
{{- fail (printf "env: %s is set by the chart. Use `settings`, or the value that stands for it." .name) }}
{{- end }}
{{- end }}
{{- if and .Values.repository.seedImage (eq .Values.repository.storage "claim") (gt (int .Values.replicas) 1) }}
{{- fail "repository.seedImage: several pods would fill the shared claim at the same time. Fill the claim once, and leave this empty." }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor (not (contains "*" (default "*" .Values.settings.INGRAIN_ALLOWED_HOSTS))) }}
{{- fail "monitoring.serviceMonitor: Prometheus asks each pod by its address, which settings.INGRAIN_ALLOWED_HOSTS refuses. Leave it out, and have the Ingress or Gateway check names." }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.enabled: name at least one of ingress.hosts." }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled: name the Gateway in httpRoute.parentRefs." }}
{{- end }}
{{- end }}
