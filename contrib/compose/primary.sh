#!/bin/bash
# Once, when the cluster is made: a role that may replicate, and a rule that lets it in.
set -e
psql -v ON_ERROR_STOP=1 -U postgres -d postgres -c 'CREATE ROLE replicator LOGIN REPLICATION'
# Network and containers are these alone (compose.yaml); anywhere else: scram-sha-256, or cert.
cat >>"$PGDATA/pg_hba.conf" <<END
host replication replicator samenet trust
host postgres    replicator samenet trust
END
