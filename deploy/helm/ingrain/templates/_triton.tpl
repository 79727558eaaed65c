{{/* Triton's container: a sidecar of the server's if they are together. */}}
{{- define "ingrain.tritonContainer" -}}
{{- $together := eq .Values.topology "together" -}}
name: triton
image: {{ include "ingrain.image" (dict "image" .Values.triton.image "tag" "") }}
imagePullPolicy: {{ .Values.triton.image.pullPolicy }}
{{- if $together }}
# A sidecar: it starts before the server, and gets SIGTERM when the server has finished its requests.
restartPolicy: Always
{{- end }}
args:
  - tritonserver
  - --model-repository=/repository/triton
  - --model-control-mode=explicit
  - --strict-readiness=false
  - --exit-on-error=false
  - --disable-auto-complete-config
  - --exit-timeout-secs={{ .Values.triton.exitTimeoutSeconds }}
  # Triton has no authentication. HTTP is for the probes alone, gRPC for the front ends.
  - --http-address=127.0.0.1
  - --grpc-address={{ ternary "127.0.0.1" "0.0.0.0" $together }}
  - --metrics-address=0.0.0.0
{{- range .Values.triton.args }}
  - {{ . | quote }}
{{- end }}
env:
  # Without this, TensorFloat-32 changes float32 vectors by up to 2e-4.
  - {name: NVIDIA_TF32_OVERRIDE, value: "0"}
  # Otherwise each of Triton's threads keeps the memory that it once needed.
  - {name: MALLOC_ARENA_MAX, value: "2"}
  - {name: HOME, value: /tmp}
{{- with .Values.triton.env }}
{{- toYaml . | nindent 2 }}
{{- end }}
ports:
{{- if not $together }}
  - name: grpc
    containerPort: 8001
{{- end }}
  - name: triton-metrics
    containerPort: 8002
startupProbe:
  exec: &live
    command: [curl, --fail, --silent, --output, /dev/null, "http://127.0.0.1:8000/v2/health/live"]
  periodSeconds: 2
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: {{ div .Values.probes.startupSeconds 2 }}
livenessProbe:
  exec: *live
  periodSeconds: {{ .Values.probes.periodSeconds }}
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: 6
{{- if not $together }}
# By `--strict-readiness=false` a model that cannot be loaded does not count.
readinessProbe:
  exec:
    command: [curl, --fail, --silent, --output, /dev/null, "http://127.0.0.1:8000/v2/health/ready"]
  periodSeconds: {{ .Values.probes.periodSeconds }}
  timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
  failureThreshold: 2
lifecycle:
  preStop:
    # The headless name forgets the pod before it ends.
    sleep:
      seconds: {{ .Values.drain.preStopSeconds }}
{{- end }}
{{- $resources := deepCopy .Values.triton.resources }}
{{- if gt (int .Values.gpu.count) 0 }}
{{- $limits := set (default dict $resources.limits) .Values.gpu.resource (include "ingrain.text" .Values.gpu.count) }}
{{- $_ := set $resources "limits" $limits }}
{{- end }}
resources: {{- toYaml $resources | nindent 2 }}
securityContext: {{- include "ingrain.containerSecurity" . | nindent 2 }}
volumeMounts:
{{- if include "ingrain.tritonReads" . }}
  - {name: repository, mountPath: /repository, readOnly: true}
{{- else }}
  - {name: no-graphs, mountPath: /repository/triton, readOnly: true}
{{- end }}
  - {name: triton-tmp, mountPath: /tmp}
  - {name: shared-memory, mountPath: /dev/shm}
  - {name: tensorrt, mountPath: /var/cache/ingrain-tensorrt}
{{- end }}

{{/* The volumes of Triton's container, besides the repository of the server's. */}}
{{- define "ingrain.tritonVolumes" -}}
- name: triton-tmp
  emptyDir: {}
- name: shared-memory
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.triton.sharedMemory }}
- name: tensorrt
  emptyDir: {}
{{- end }}

{{/* Triton ends up dead rather than stopped if its folder is missing when it starts; of a dict with `root` and `image`. */}}
{{- define "ingrain.foldersContainer" -}}
name: folders
image: {{ .image }}
command: [mkdir, -p, /repository/triton]
resources:
  requests: {cpu: 10m, memory: 16Mi}
  limits: {memory: 64Mi}
securityContext: {{- include "ingrain.containerSecurity" .root | nindent 2 }}
volumeMounts:
  - {name: repository, mountPath: /repository}
{{- end }}
