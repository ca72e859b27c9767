#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml mounts as files: random passwords, the addresses that
# carry them, and RabbitMQ's definitions with their hashes. What is there already is kept, so a
# second run changes nothing.
#
#   deploy/make-secrets.sh [DIRECTORY]     default: deploy/secrets
#
# RABBITMQ_SERIES=3 leaves out the policy for RabbitMQ 4.x only (rabbitmq/README.md says why).
# RABBITMQ_TLS=1 makes a private authority and a certificate for RabbitMQ, and amqps:// addresses. (An
#   address that was made before is kept: delete it to have it made anew.)
# RABBITMQ_ADDRESS=rabbitmq:5671 is where producers and workers find RabbitMQ; the port is 5672
#   without TLS.
# HOMES="cottage flat" makes a user for each home of a fleet, producer-NAME, with its address and the
#   definitions that RabbitMQ must import (docs/fleet.md).
# HOMES_ADDRESS=broker.example:5671 is where homes find RabbitMQ, from outside (default:
#   RABBITMQ_ADDRESS).
# RABBITMQ_TLS_NAMES=broker.example,rabbitmq are the names in the certificate, with commas; they
#   must hold every name that clients use (default: the hosts of both addresses, and rabbitmq).
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

scheme=amqp port=5672
if [[ ${RABBITMQ_TLS:-} == 1 ]]; then scheme=amqps port=5671; fi
broker=${RABBITMQ_ADDRESS:-rabbitmq:$port}
broker_of_homes=${HOMES_ADDRESS:-$broker}

address() { # USER WHERE
  printf '%s://%s:%s@%s/%%2f\n' "$scheme" "$1" "$(<"$directory/rabbitmq_password_$1")" "$2" \
    | keep "$1_amqp_url"
}

for user in producer worker operator; do address "$user" "$broker"; done

# A user who may do for one home what `producer` may for all: hold that home's queue, and publish
# with that home's name. Imported beside what is there: `rabbitmqctl import_definitions FILE`.
for home in ${HOMES:-}; do
  if [[ ! $home =~ ^[A-Za-z0-9_-]+$ ]]; then
    printf 'HOMES: %s is no name of letters, digits, - and _\n' "$home" >&2
    exit 2
  fi
  user=producer-$home
  password "$user"
  address "$user" "$broker_of_homes"
  [[ -s $directory/rabbitmq_definitions-$home.json ]] || keep "rabbitmq_definitions-$home.json" <<DEFINITIONS
{
  "users": [
    {"name": "$user", "password_hash": "$(hash_of "$(<"$directory/rabbitmq_password_$user")")", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": [], "limits": {}}
  ],
  "permissions": [
    {"user": "$user", "vhost": "/", "configure": "^ha\\\\.producer\\\\.$home\$", "write": "^ha\\\\.(events|dead-letters)\$", "read": "^ha\\\\.producer\\\\.$home\$"}
  ],
  "topic_permissions": [
    {"user": "$user", "vhost": "/", "exchange": "ha.events", "write": "^$home\$", "read": "^\$"}
  ]
}
DEFINITIONS
done

key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 | keep "$1"; }

# The authority's name must differ from the server's: Erlang takes a certificate whose issuer has its
# own name for self-signed.
if [[ ${RABBITMQ_TLS:-} == 1 && ! -s $directory/rabbitmq_tls.crt ]]; then
  if [[ ! -s $directory/rabbitmq_tls_ca.crt ]]; then
    key rabbitmq_tls_ca.key
    # Nobody but the one who makes certificates needs it; keep it elsewhere.
    chmod 600 "$directory/rabbitmq_tls_ca.key"
    openssl req -x509 -new -key "$directory/rabbitmq_tls_ca.key" -days 3650 \
      -subj '/CN=HA Ingestor private authority' -addext basicConstraints=critical,CA:TRUE \
      -addext keyUsage=critical,keyCertSign,cRLSign | keep rabbitmq_tls_ca.crt
  fi
  key rabbitmq_tls.key
  names=${RABBITMQ_TLS_NAMES:-${broker_of_homes%:*},${broker%:*},rabbitmq}
  openssl req -new -key "$directory/rabbitmq_tls.key" -subj "/CN=${names%%,*}" \
    | openssl x509 -req -CA "$directory/rabbitmq_tls_ca.crt" -CAkey "$directory/rabbitmq_tls_ca.key" \
      -set_serial "0x$(openssl rand -hex 16)" -days 825 2>/dev/null \
      -extfile <(printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' "${names//,/,DNS:}") \
    | keep rabbitmq_tls.crt
fi

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
