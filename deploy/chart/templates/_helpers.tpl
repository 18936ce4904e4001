{{/* What the names of all objects begin with: 35 characters at most, so that the longest, of a group of workers, has 63.
A longer one is cut, and a part of its hash tells it from those that begin alike. */}}
{{- define "flywheel.name" -}}
{{- $name := .Release.Name }}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name) }}
{{- fail (printf "the name of a release is the beginning of its Services' names: a letter, then letters, digits and dashes, not %q" $name) }}
{{- end }}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end }}
{{- if gt (len $name) 35 }}{{ $name = printf "%s-%s" ($name | trunc 26 | trimSuffix "-") ($name | sha256sum | trunc 8) }}{{ end }}
{{- $name }}
{{- end }}

{{- define "flywheel.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
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

{{/* Labels or annotations that are given, beside the chart's own: by these whatever selects pods finds them. */}}
{{- define "flywheel.added" -}}
{{- range $name, $value := .given }}
{{- if hasKey (fromYaml $.own) $name }}
{{- fail (printf "%s: %s is the chart's own" $.where $name) }}
{{- end }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "flywheel.flowise" -}}
{{- if .Values.sandbox.enabled -}}
http://{{ include "flywheel.name" . }}-sandbox:3000
{{- else -}}
{{ .Values.flowise.url }}
{{- end }}
{{- end }}

{{/* What every process of ours is told. Kubernetes puts another variable in for $(NAME), and one dollar for two. */}}
{{- define "flywheel.env" -}}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "flywheel.secret" . | quote }}, key: REDIS_URL}}
{{- with .Values.keyPrefix }}
- name: FLYWHEEL_KEY_PREFIX
  value: {{ . | quote }}
{{- end }}
- name: FLOWISE_BASE_URL
  value: {{ include "flywheel.flowise" . | replace "$" "$$" | quote }}
- name: FLOWISE_API_KEY
  valueFrom: {secretKeyRef: {name: {{ include "flywheel.secret" . | quote }}, key: FLOWISE_API_KEY, optional: true}}
{{- with .Values.langfuse.url }}
- name: LANGFUSE_BASE_URL
  value: {{ . | replace "$" "$$" | quote }}
{{- range $key := list "LANGFUSE_PUBLIC_KEY" "LANGFUSE_SECRET_KEY" }}
- name: {{ $key }}
  valueFrom: {secretKeyRef: {name: {{ include "flywheel.secret" $ | quote }}, key: {{ $key }}}}
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
  value: {{ $value | replace "$" "$$" | quote }}
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
{{- if .Values.certificatesSecret }}
- {name: certificates, mountPath: /etc/flywheel/certificates, readOnly: true}
{{- end }}
{{- end }}

{{- define "flywheel.volumes" -}}
- {name: tmp, emptyDir: {sizeLimit: 1Gi}}
- {name: home, emptyDir: {sizeLimit: 4Gi}}
{{- with include "flywheel.registryMap" . }}
- {name: registry, configMap: {name: {{ . | quote }}}}
{{- end }}
{{- with include "flywheel.profilesMap" . }}
- {name: profiles, configMap: {name: {{ . | quote }}}}
{{- end }}
{{- with .Values.certificatesSecret }}
# 288 is 0440: the pod's group reads it. A leading 0 means octal to some readers of YAML and nothing to others.
- {name: certificates, secret: {secretName: {{ . | quote }}, defaultMode: 288}}
{{- end }}
{{- end }}

{{/* Which group of workers something belongs to; nothing where it is none. */}}
{{- define "flywheel.group" -}}
{{- with .group }}
agentic-flywheel/group: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Metadata of a pod. A Secret that the chart makes itself has pods replaced when it changes. */}}
{{- define "flywheel.podMetadata" -}}
{{- $labels := printf "%s%s" (include "flywheel.labels" .) (include "flywheel.group" .) }}
{{- $annotations := printf "checksum/secret: %q" (.root.Values.secret | toJson | sha256sum) }}
labels:
  {{- $labels | nindent 2 }}
  {{- include "flywheel.added" (dict "where" "podLabels" "given" .root.Values.podLabels "own" $labels) | nindent 2 }}
annotations:
  {{- $annotations | nindent 2 }}
  {{- include "flywheel.added" (dict "where" "podAnnotations" "given" .root.Values.podAnnotations "own" $annotations) | nindent 2 }}
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
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "flywheel.selector" . | nindent 8 }}
        {{- include "flywheel.group" . | nindent 8 }}
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
