#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml mounts as files: random passwords, the addresses that
# carry them, and RabbitMQ's definitions with their hashes. What is there already is kept, so a
# second run changes nothing.
#
#   deploy/make-secrets.sh [DIRECTORY]     default: deploy/secrets
#
# RABBITMQ_SERIES=3 leaves out the policy for RabbitMQ 4.x only (rabbitmq/README.md says why).
#
# Home Assistant's token cannot be made up: put it into home_assistant_token yourself.
# Needs bash and openssl. Kubernetes: k8s/README.md says how these files become Secrets.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
directory=${1:-$here/secrets}
mkdir -p "$directory"
# The directory keeps other users of the host out. The files in it must be readable for the users
# of the containers, which are not the owner: Compose mounts them as they are.
chmod 700 "$directory"
umask 022

keep() { # FILE: standard input becomes the file, unless it is there
  if [[ -s $directory/$1 ]]; then cat >/dev/null; else cat >"$directory/$1"; fi
}

password() { # NAME: letters and digits only, because it stands in URLs
  openssl rand -hex 24 | keep "rabbitmq_password_$1"
}

# RabbitMQ's documented form: base64(salt + sha256(salt + password)), with four bytes of salt.
# https://www.rabbitmq.com/docs/passwords#computing-password-hash
hash_of() { # PASSWORD
  local salt
  salt=$(openssl rand -hex 4)
  {
    printf '%b' "$(sed 's/../\\x&/g' <<<"$salt")"
    { printf '%b' "$(sed 's/../\\x&/g' <<<"$salt")"; printf '%s' "$1"; } | openssl dgst -sha256 -binary
  } | openssl base64 -A
}

users=(admin monitoring operator producer worker)
for user in "${users[@]}"; do password "$user"; done

for user in producer worker operator; do
  printf 'amqp://%s:%s@rabbitmq:5672/%%2f\n' "$user" "$(<"$directory/rabbitmq_password_$user")" \
    | keep "${user}_amqp_url"
done

if [[ ! -s $directory/rabbitmq_definitions.json ]]; then
  edits=()
  for user in "${users[@]}"; do
    hash=$(hash_of "$(<"$directory/rabbitmq_password_$user")")
    edits+=(-e "s|\"name\": \"$user\", \"password_hash\": \"\"|\"name\": \"$user\", \"password_hash\": \"$hash\"|")
  done
  if [[ ${RABBITMQ_SERIES:-4} != 3 ]]; then
    # The inside of the list of policies, with a comma for those that follow.
    policy=$(sed -n '/"policies": \[/,/^  \]/{//!p}' "$here/rabbitmq/policies-4.x.json" | tr '\n' ' ')
    edits+=(-e "s|\"policies\": \[|&${policy//\\/\\\\},|")
  fi
  sed "${edits[@]}" "$here/rabbitmq/definitions.json" | keep rabbitmq_definitions.json
fi

openssl rand -hex 32 | keep influxdb_token
openssl rand -hex 16 | keep influxdb_admin_password
openssl rand -hex 16 | keep grafana_admin_password
: >>"$directory/home_assistant_token"

if [[ ! -s $directory/home_assistant_token ]]; then
  printf 'made %s; now put a long-lived access token of Home Assistant into %s/home_assistant_token\n' \
    "$directory" "$directory" >&2
fi
