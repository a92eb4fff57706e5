#!/usr/bin/env bash
# A first payment through an installation that `make up` has brought up, by the command line: an owner, two agents with a wallet
# each, guard rails, money, and 2 USD from one to the other. It prints each command as it runs it. Whoever runs it holds all parts:
# their homes are in HALFKEY_DIR/homes. It may be repeated, also after a failure, and then pays once more.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${HALFKEY_DIR:-$PWD/installation}
homes=$dir/homes
export HALFKEY_INSTALLATION=$dir/installation.json
umask 077
mkdir -p "$homes"
[ -x bin/halfkey ] || go build -o bin/ ./cmd/halfkey

halfkey() {
  echo "\$ halfkey $*" >&2
  bin/halfkey "$@"
}

# A repeated registration is the same wallet, with the same code.
claim_code() {
  halfkey --home "$homes/$1" register --name "$2" --owner you@company.com --json | sed -n 's/.*"claim_code":"\([^"]*\)".*/\1/p'
}

if [ ! -e "$homes/owner.made" ]; then
  halfkey --home "$homes/owner" owner init --code-file "$dir/bootstrap.code" --email you@company.com \
    --second-key-file "$homes/second-owner.key"
  touch "$homes/owner.made"
fi
shop=$(claim_code shop 'Data Shop')
agent=$(claim_code agent 'Research Agent')
if [ ! -e "$homes/agent.funded" ]; then
  halfkey --home "$homes/owner" owner claim "$shop" --yes
  halfkey --home "$homes/owner" owner claim "$agent" --yes
  halfkey --home "$homes/owner" guardrails set @research-agent --auto-approve 5 --daily 50 --hard-cap 100 --allow @data-shop
  halfkey --home "$homes/operator" operator --key "$dir/operator.key" deposit @research-agent 200 --id first
  touch "$homes/agent.funded"
fi
halfkey --home "$homes/agent" pay @data-shop 2 --memo 'weather, one day'
