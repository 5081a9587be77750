{{/* The release's name is that of everything in it. */}}
{{- define "dlconf.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "dlconf.selector" -}}
app.kubernetes.io/name: dlconf
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dlconf.labels" -}}
{{ include "dlconf.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* repository with a digest, else with a tag. */}}
{{- define "dlconf.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end -}}
{{- end }}

{{/* What every container of ours must not be able to do. */}}
{{- define "dlconf.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* What automountServiceAccountToken would mount everywhere. */}}
{{- define "dlconf.token" -}}
projected:
  defaultMode: 0440
  sources:
    - serviceAccountToken: { path: token, expirationSeconds: 3600 }
    - configMap:
        name: kube-root-ca.crt
        items: [{ key: ca.crt, path: ca.crt }]
    - downwardAPI:
        items: [{ path: namespace, fieldRef: { fieldPath: metadata.namespace } }]
{{- end }}

{{/* What the cluster is asked for: without it dlconf needs no right there. */}}
{{- define "dlconf.asksCluster" -}}
{{- if or .Values.secrets .Values.configMaps .Values.restartLock }}true{{ end -}}
{{- end }}
