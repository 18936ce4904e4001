{{- define "flywheel.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "flywheel.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "flywheel.labels" -}}
{{ include "flywheel.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "flywheel.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "flywheel.secret" -}}
{{ .Values.existingSecret | default (include "flywheel.name" .) }}
{{- end }}

{{- define "flywheel.flowise" -}}
{{- if .Values.sandbox.enabled -}}
http://{{ include "flywheel.name" . }}-sandbox:3000
{{- else -}}
{{ .Values.flowise.url }}
{{- end }}
{{- end }}

{{/* What every process of ours is told. */}}
{{- define "flywheel.env" -}}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "flywheel.secret" . }}, key: REDIS_URL}}
{{- with .Values.keyPrefix }}
- name: FLYWHEEL_KEY_PREFIX
  value: {{ . | quote }}
{{- end }}
- name: FLOWISE_BASE_URL
  value: {{ include "flywheel.flowise" . | quote }}
- name: FLOWISE_API_KEY
  valueFrom: {secretKeyRef: {name: {{ include "flywheel.secret" . }}, key: FLOWISE_API_KEY, optional: true}}
{{- with .Values.langfuse.url }}
- name: LANGFUSE_BASE_URL
  value: {{ . | quote }}
{{- range $key := list "LANGFUSE_PUBLIC_KEY" "LANGFUSE_SECRET_KEY" }}
- name: {{ $key }}
  valueFrom: {secretKeyRef: {name: {{ include "flywheel.secret" $ }}, key: {{ $key }}}}
{{- end }}
{{- end }}
{{- if include "flywheel.registryMap" . }}
- name: FLYWHEEL_REGISTRY
  value: /etc/flywheel/registry/flow-registry.yaml
{{- end }}
{{- if include "flywheel.profilesMap" . }}
- name: FLYWHEEL_PROFILES
  value: /etc/flywheel/profiles
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "flywheel.registryMap" -}}
{{- if .Values.registry.existingConfigMap }}{{ .Values.registry.existingConfigMap }}
{{- else if .Values.registry.content }}{{ include "flywheel.name" . }}-registry{{ end }}
{{- end }}

{{- define "flywheel.profilesMap" -}}
{{- if .Values.registry.existingProfiles }}{{ .Values.registry.existingProfiles }}
{{- else if .Values.registry.profiles }}{{ include "flywheel.name" . }}-profiles{{ end }}
{{- end }}

{{/* A folder is mounted, and no single file of it: changes are then noticed without a restart. */}}
{{- define "flywheel.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: home, mountPath: /app/.flywheel}
{{- if include "flywheel.registryMap" . }}
- {name: registry, mountPath: /etc/flywheel/registry, readOnly: true}
{{- end }}
{{- if include "flywheel.profilesMap" . }}
- {name: profiles, mountPath: /etc/flywheel/profiles, readOnly: true}
{{- end }}
{{- end }}

{{- define "flywheel.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 1Gi}}
- {name: home, emptyDir: {sizeLimit: 4Gi}}
{{- with include "flywheel.registryMap" . }}
- {name: registry, configMap: {name: {{ . }}}}
{{- end }}
{{- with include "flywheel.profilesMap" . }}
- {name: profiles, configMap: {name: {{ . }}}}
{{- end }}
{{- end }}

{{/* Metadata of a pod. A Secret and a registry that the chart makes itself have pods replaced when they change. */}}
{{- define "flywheel.podMetadata" -}}
labels:
  {{- include "flywheel.labels" . | nindent 2 }}
  {{- with .group }}
  agentic-flywheel/group: {{ . }}
  {{- end }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/secret: {{ .root.Values.secret | toJson | sha256sum }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* What holds for every pod: no rights in the cluster, nobody special, nothing to write to but its own folders. */}}
{{- define "flywheel.podSpec" -}}
serviceAccountName: {{ include "flywheel.name" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "flywheel.selector" . | nindent 8 }}
        {{- with .group }}
        agentic-flywheel/group: {{ . }}
        {{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with get $.placed $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "flywheel.container" -}}
image: {{ include "flywheel.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The queues of a group of workers, as Prometheus names them. None: all. */}}
{{- define "flywheel.queues" -}}
{{- $queues := list }}
{{- range .domains }}{{ $queues = append $queues (printf "domain.%s" .) }}{{ end }}
{{- join "|" (concat $queues (default list .queues)) }}
{{- end }}

{{/* Whether a worker's file is fresh enough. */}}
{{- define "flywheel.fresh" -}}
command: [sh, -c, "find /tmp/worker.ready -newermt '-15 seconds' | grep -q ."]
{{- end }}
