#!/bin/bash
# transfer.sh - moves money between two PostgreSQL databases, in both or in neither, with curl and
# psql alone (and jq to read JSON).
#
#     ASSENT_HTTP=http://127.0.0.1:7480 ACCOUNTS=dbname=accounts LEDGER=dbname=ledger \
#         examples/transfer.sh 30 payment-4711
#
# The second argument is the name of this payment: run again with it, after whatever crash, the money
# moves once.
set -euo pipefail

amount=$1 payment=$2
assent=${ASSENT_HTTP:-http://127.0.0.1:7480}/v1/transactions

# ask PATH CURL-ARGUMENT...: one request, its reply on stdout. Status 1: refused, the reply says why;
# 2: no answer, and whether it was heard is not known.
ask() {
    local path=$1 reply
    shift
    reply=$(curl -sS --max-time 10 "$@" "$assent$path") || return 2
    echo "$reply"
    jq -e .ok <<<"$reply" >/dev/null
}

# A request that may be sent again without harm, until it is answered.
insist() {
    local reply status tries
    for tries in 1 2 3 4 5; do
        status=0
        reply=$(ask "$@") || status=$?
        if [[ $status == 0 ]] || { [[ $status == 1 ]] && ! jq -e .error.retryable <<<"$reply" >/dev/null; }; then
            break
        fi
        sleep 0.2
    done
    echo "$reply"
    return "$status"
}

# The transaction has committed or it has not: only the coordinator knows. To run the transfer again
# now could do it twice; to ask again never harms.
settle() {
    local reply=$1
    until jq -e '(.outcome // "in-progress") != "in-progress" or .error.retryable == false' \
        <<<"$reply" >/dev/null; do
        sleep 0.2
        reply=$(ask "/$gtrid/outcome") || true
        reply=${reply:-null}
    done
    [[ $(jq -r .outcome <<<"$reply") == committed ]] && echo committed && exit 0
    echo "rolled back: $(jq -r '.reason.message // .error.message // .outcome' <<<"$reply")" >&2
    exit 1
}

# A branch that is prepared is Assent's to roll back; the others went with their psql.
give_up() {
    ask "/$gtrid/rollback" --json '{}' >/dev/null || true # or else its time runs out
    echo "rolled back: $1" >&2
    exit 1
}

# The header makes this safe to send again: whichever is heard first begins the transaction.
reply=$(insist '' -H "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" \
    --json "$(jq -n --arg key "$payment" '{label: "transfer.sh", key: $key}')") || {
    gtrid=$(jq -r '.gtrid // empty' <<<"${reply:-null}")
    [[ $(jq -r '.error.code?' <<<"${reply:-null}") == key_in_use ]] && settle null # an earlier run of ours
    echo "rolled back: $(jq -r '.error.message?' <<<"${reply:-null}")" >&2
    exit 1
}
gtrid=$(jq -r .gtrid <<<"$reply")

# work RM CONNINFO SIGN: that database's part, prepared under the name that Assent gives.
work() {
    local gid
    gid=$(insist "/$gtrid/branches" --json "{\"rm\":\"$1\"}" | jq -er .branch.gid) || give_up "no branch at $1"
    psql -qX -v ON_ERROR_STOP=1 -v amount="$3$amount" -v gid="$gid" "$2" <<'SQL' || give_up "at $1"
begin;
update account set balance = balance + :'amount'::bigint where id = 1;
prepare transaction :'gid';
SQL
}
work accounts "$ACCOUNTS" -
work ledger "$LEDGER" +

reply=$(ask "/$gtrid/commit" --json '{}') || true
settle "${reply:-null}"
