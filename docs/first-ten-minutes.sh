#!/usr/bin/env bash
# The first ten minutes of a new user, done for real: clone, demo, an own Home Assistant, a first
# query. Prints the transcript that stands in docs/first-ten-minutes.md, with the time of each step.
#
#   docs/first-ten-minutes.sh [REPOSITORY] >transcript.md
#
# REPOSITORY: where to clone from (default: this checkout). Home Assistant (the real one, with its
# demo house) and InfluxDB are private copies: common/test/services/services.sh, `make services-install`.
# BINARIES: a folder with the binary `producer`, to use it instead of building (`make demo` builds).
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
if [[ ${1:-} != --with-services ]]; then
  exec "$here/common/test/services/services.sh" run influxdb home-assistant -- \
    bash "$0" --with-services "${1:-$here}"
fi
repository=$2
folder=$(mktemp -d)
producer_pid=
trap '[[ -z $producer_pid ]] || kill "$producer_pid" 2>/dev/null || true; rm -rf "$folder"' EXIT

# shown COMMAND-AS-TYPED [LINES]: runs it in the clone, prints it with the end of what it says.
shown() {
  local began=$EPOCHREALTIME seconds
  printf '\n```console\n$ %s\n' "$1"
  (eval "$1") >"$folder/said" 2>&1 || { cat "$folder/said"; exit 1; }
  sed 's/\x1b\[[0-9;]*m//g' "$folder/said" | tail -n "${2:-12}" | cut -c1-160
  seconds=$(awk "BEGIN { print $EPOCHREALTIME - $began }")
  printf '```\n\n%.1f s\n' "$seconds"
}

# asked "WHAT FOR" "INFLUXQL": the query, and the first rows of its answer.
asked() {
  printf '\n%s\n\n```sql\n%s\n```\n\n```csv\n' "$1" "$2"
  curl -sf --noproxy '*' -H 'Accept: application/csv' "$SERVICES_INFLUXDB_URL/query" \
    --data-urlencode db=home_assistant --data-urlencode epoch=s --data-urlencode "q=$2" | head -n 6 | cut -c1-160
  printf '```\n'
}

# call DOMAIN/SERVICE JSON: somebody does something in the house.
call() {
  curl -sf --noproxy '*' -o /dev/null -H "Authorization: Bearer $HOME_ASSISTANT_TOKEN" \
    -d "$2" "$HOME_ASSISTANT_URL/api/$1"
}

printf '## 1. Clone and see it work\n'
cd "$folder"
shown 'git clone -q "$repository" ha-ingestor'
cd ha-ingestor
if [[ -z ${BINARIES:-} ]]; then
  shown 'make demo' 14
  PATH=$PWD/target/release:$PATH
else
  PATH=$(cd "$here" && cd "$BINARIES" && pwd):$PATH
  shown 'producer demo --seconds 30' 14
fi

printf '\n## 2. Your own Home Assistant\n\n'
printf 'A token comes from Home Assistant: your profile, Security, Long-lived access tokens.\n'
HOME_ASSISTANT_TOKEN=$(<"$SERVICES_HOME_ASSISTANT_TOKEN_FILE")
export HOME_ASSISTANT_TOKEN HOME_ASSISTANT_URL=$SERVICES_HOME_ASSISTANT_URL
export INFLUXDB_URL=$SERVICES_INFLUXDB_URL INFLUXDB_API=v1 INFLUXDB_BUCKET=home_assistant
cat <<SETTINGS

\`\`\`sh
export HOME_ASSISTANT_URL=$HOME_ASSISTANT_URL
export HOME_ASSISTANT_TOKEN=…
export INFLUXDB_URL=$INFLUXDB_URL INFLUXDB_API=v1 INFLUXDB_BUCKET=home_assistant
\`\`\`
SETTINGS
shown 'producer check'
printf '\n```console\n$ producer run\n```\n'
producer run >"$folder/log" 2>&1 &
producer_pid=$!
began=$EPOCHREALTIME
until curl -sf --noproxy '*' -o /dev/null http://127.0.0.1:8100/readyz; do
  kill -0 "$producer_pid" || { cat "$folder/log"; exit 1; }
  sleep 0.05
done
printf '\nReady after %.1f s.\n' "$(awk "BEGIN { print $EPOCHREALTIME - $began }")"
for round in 1 2 3 4 5 6; do
  call services/light/toggle '{"entity_id": ["light.kitchen_lights", "light.bed_light"]}'
  call states/sensor.outdoor "{\"state\": \"$((15 + round)).5\", \"attributes\": {\"device_class\": \"temperature\", \"unit_of_measurement\": \"°C\"}}"
  call states/sensor.flaky "{\"state\": \"$([[ $((round % 3)) == 0 ]] && echo unavailable || echo "$round")\"}"
  sleep 1
done

printf '\n## 3. Five queries worth having\n'
asked 'What happened last:' \
  'SELECT "entity_id", "state" FROM "home_assistant_events" ORDER BY time DESC LIMIT 5'
asked 'A temperature, averaged (on a real dashboard: `time(10m)`):' \
  'SELECT mean("value") FROM "home_assistant_events" WHERE "entity_id" = '\''sensor.outdoor'\'' AND time > now() - 1h GROUP BY time(1m) fill(none)'
asked 'Which entities change most:' \
  'SELECT top("changes", "entity_id", 5) FROM (SELECT count("state") AS "changes" FROM "home_assistant_events" WHERE time > now() - 1d GROUP BY "entity_id")'
asked 'How long each light was on, in seconds (an event says how long the state before it lasted):' \
  'SELECT sum("duration_in_state_s") AS "on_s" FROM "home_assistant_events" WHERE "domain" = '\''light'\'' AND "value" = 0 AND time > now() - 1d GROUP BY "entity_id"'
asked 'What drops out, and how often:' \
  'SELECT count("available") AS "dropouts" FROM "home_assistant_events" WHERE "available" = false AND time > now() - 1d GROUP BY "entity_id"'
