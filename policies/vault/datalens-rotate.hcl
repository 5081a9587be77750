# Made by `dlconf vault-policy --rotate` from policies/vault/dlconf.toml,
# environment production, source vault.
# Rotation writes KV v2 by check-and-set, and nothing else.

# secret/datalens/production: the values
# secret/datalens/production: rotation writes by check-and-set
# secret/datalens/production: `create` is for the first time
path "secret/data/datalens/production" {
  capabilities = ["create", "read", "update"]
}

# secret/datalens/production: the version, which is polled
path "secret/metadata/datalens/production" {
  capabilities = ["read"]
}

# `dlconf doctor` asks whether the mount insists on check-and-set
path "secret/config" {
  capabilities = ["read"]
}

# database/creds/datalens: new credentials
path "database/creds/datalens" {
  capabilities = ["read"]
}

# leases end with their use (a lease's id is known to its owner alone)
path "sys/leases/revoke" {
  capabilities = ["update"]
}

# The rest is in the policy `default` as well. It is repeated for tokens without that
# policy, and for servers where somebody has changed it.

# leases live on while used
path "sys/leases/renew" {
  capabilities = ["update"]
}

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
