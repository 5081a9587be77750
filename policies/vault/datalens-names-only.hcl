# Made by `dlconf vault-policy --names-only` from policies/vault/dlconf.toml,
# environment production, source vault.

# secret/datalens/production: the names, without the values
path "secret/subkeys/datalens/production" {
  capabilities = ["read"]
}

# The rest is in the policy `default` as well. It is repeated for tokens without that
# policy, and for servers where somebody has changed it.

# the token lives on while used
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# the login ends with its use
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# `dlconf doctor` asks what is permitted
path "sys/capabilities-self" {
  capabilities = ["update"]
}
