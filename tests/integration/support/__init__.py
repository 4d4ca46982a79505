"""What the integration tests stand on: throwaway PostgreSQL servers, receivers, and the comparison
of an archive with the servers' own pg_wal. Standard library only."""
