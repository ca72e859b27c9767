#!/usr/bin/env bash
# Writes the PrometheusRule of k8s/components/monitoring from deploy/prometheus/alerts.rules.yml:
# kustomize reads nothing outside its root, and two copies kept by hand would drift. A test compares.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
{
  cat <<HEAD
# Made by deploy/checks/sync-rules.sh from deploy/prometheus/alerts.rules.yml. Change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: ha-ingestor
  labels:
    app.kubernetes.io/name: ha-ingestor
spec:
HEAD
  # The comments at the top of the rules speak of their own place.
  sed -n '/^groups:/,$p' "$root/deploy/prometheus/alerts.rules.yml" | sed 's/^\(.\)/  \1/'
} >"$root/k8s/components/monitoring/prometheus-rule.yaml"
