#!/bin/sh
# Tokens and passwords for deploy/compose, each made once and kept; and .env, which tells Compose
# where they are. Prints no secret.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
secrets=$here/secrets

# Compose mounts the files as they are, and the containers' users are not you: the files may be read,
# the directory around them by you alone.
mkdir -p "$secrets"
chmod 700 "$secrets"

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

keep() { # name, content
    if [ ! -s "$secrets/$1" ]; then
        printf '%s\n' "$2" >"$secrets/$1"
        chmod 444 "$secrets/$1"
        echo "made $secrets/$1"
    fi
}

keep client_token "$(random)"
keep ops_token "$(random)"
keep grafana_password "$(random)"
if [ ! -s "$secrets/store_url" ] || [ ! -s "$secrets/valkey_conf" ]; then
    rm -f "$secrets/store_url" "$secrets/valkey_conf"
    password=$(random)
    keep store_url "redis://:$password@valkey:6379/0"
    keep valkey_conf "$(sed "s/PASSWORD/$password/" "$here/valkey.conf")"
fi
echo "CCXT_MCP_SECRETS=$secrets" >"$here/.env"
