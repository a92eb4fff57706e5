#!/usr/bin/env bash
# Brings an installation up on this machine: keys and certificates where there are none, images, etcd and the five programs; and
# waits until all of them serve. It may be repeated: keys stay, certificates are fresh. What the variables mean stands in
# docker-compose.yml; COMPOSE is which Compose runs it, `docker compose` by default.
set -euo pipefail
cd "$(dirname "$0")/.."

read -r -a compose <<<"${COMPOSE:-docker compose}"
export HALFKEY_DIR=${HALFKEY_DIR:-$PWD/installation}

# The programs run as whoever their files belong to: the caller, or where that is root, a user who owns nothing else.
give=()
if [ "$(id -u)" -eq 0 ]; then
  export HALFKEY_USER=${HALFKEY_USER:-65532:65532}
  give=(--user "${HALFKEY_USER%%:*}")
else
  export HALFKEY_USER=${HALFKEY_USER:-$(id -u):$(id -g)}
fi

go build -o bin/ ./cmd/halfkey ./cmd/halfkey-dev
bin/halfkey-dev certs "$HALFKEY_DIR" "${give[@]}" \
  --gateway "localhost:${HALFKEY_PORT:-8443}" --https "localhost:${HALFKEY_HTTPS_PORT:-8444}"
if [ "${HALFKEY_DOCKERFILE:-}" = deploy/Dockerfile.prebuilt ]; then
  make binaries
fi
"${compose[@]}" up --build --detach

for service in identity policy ledger cosigner gateway; do
  deadline=$((SECONDS + 120))
  until "${compose[@]}" exec -T "$service" "/$service" health -c "/etc/halfkey/$service.yaml" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "$service does not serve after two minutes; what it says: ${compose[*]} logs $service" >&2
      exit 1
    fi
    sleep 1
  done
done
echo "Halfkey serves on localhost:${HALFKEY_PORT:-8443}. A first payment: deploy/first-payment.sh"
