"""What a command refuses before it does anything: the exit status, what is wrong, and what to do about it."""

import pytest

from support.receiver import pgweir

# {empty} is a directory that is there; no host, store or file that a row names is ever asked for.
STORE = "--store s3://bucket"
ROWS = [
    ("ack -D {empty} --all hole-1-0-1 --reason x", "--all and the name of a loss cannot be combined", None),
    ("ack -D {empty} --reason x", "--reason needs a loss", "Name a loss, or add --all."),
    ("backup -D {empty} --to {empty} --format tar --compress gzip:10", 'wrong value "gzip:10" of --compress', "gzip 1 to 9"),
    ("backup -D {empty} --to {empty} --format tar --compress gzip:0", 'wrong value "gzip:0" of --compress', "gzip 1 to 9"),
    ("backup -D {empty} --to {empty} --format tar --compress lz4:13", 'wrong value "lz4:13" of --compress', "lz4 up to 12"),
    ("backup -D {empty} --to {empty} --format tar --compress zstd:23", 'wrong value "zstd:23" of --compress', "zstd up to 22"),
    ("backup -D {empty} --to {empty} --format tar --compress zstd:", 'wrong value "zstd:" of --compress', "also with a level"),
    ("compress -D /a --method gzip", 'wrong value "gzip" of --method: an archive is converted to zstd only',
     "Use --method zstd or zstd:LEVEL."),
    ("config", 'no command specified for "pgweir config"',
     'It can be check or show; see "pgweir config --help".'),
    ("config chek", 'unknown command "config chek"', "It can be check or show"),
    ("config check", "which file?", "pgweir config check FILE"),
    ("config check /a b", 'unexpected argument "b"', 'See "pgweir config --help".'),
    ("doctor -D {empty} -d postgresql://127.0.0.1:1/?connect_timeout=soon",
     "invalid connect_timeout in the connection string (value soon)", None),
    ("drill -D /a", "no base backup given: --backup BASEBACKUP", 'See "pgweir drill --help".'),
    ("drill --backup /b", "no archive given: -D DIRECTORY, or --store", 'See "pgweir drill --help".'),
    ("help staus", 'no help on "staus"', "Did you mean status?"),
    ("import -D {empty} {empty}", "this is the archive itself", None),
    ("listen -d host=x", "no channel given", "pgweir listen CHANNEL"),
    ("logical strem", 'unknown command "logical strem"', "It can be stream, create, drop, peek or get"),
    ("logical stream -d host=x", "--slot NAME is missing", None),
    ("logical drop -S x --file f -d host=x", 'option --file cannot be used with "logical drop"',
     'See "pgweir logical --help".'),
    ("logical stream -S x -d host=x --option =1", 'wrong value "=1" of --option: no option of a plugin',
     "Give --option NAME or --option NAME=VALUE."),
    ("logical stream -S x -d host=x --file f --startpos 0/1", "--startpos is for an output without a state",
     "The state file contains the position at which to resume."),
    ("notify -d host=x", "no channel given", "pgweir notify CHANNEL PAYLOAD"),
    ("prune -D /a --backups /b", "option --backups requires --keep or --keep-backups", None),
    ("prune -D /a --ignore-backup /b --keep-from 000000010000000000000001",
     "option --ignore-backup requires --keep or --keep-backups", None),
    ("prune -D /a --keep-from 000000010000000000000001 word", 'unexpected argument "word"',
     'See "pgweir prune --help".'),
    ("receive -D /a -d host=x --web-token-file f", "option --web-token-file requires --web-listen", None),
    ("slot", 'no command specified for "pgweir slot"', 'It can be create, drop or list; see "pgweir slot --help".'),
    ("status -D {empty} -S x", "--slot needs a server to ask", "Give it with -d CONNINFO."),
    ("store", 'no command specified for "pgweir store"', "push, ls, get, check, rewrap, keygen or publish-partial"),
    ("store psh", 'unknown command "store psh"', "It can be push, ls, get, check, rewrap, keygen or publish-partial"),
    ("store push -D /a", "--store is missing", "Give --store s3://BUCKET/PREFIX"),
    (f"store ls {STORE}", "no archive of the store specified", "Specify it with --store-name"),
    (f"store push -D . {STORE}", "no archive of the store specified", "Specify it with --store-name"),
    ("store push -D /a --store s3://", 'wrong value "s3://" of --store', "In s3://BUCKET/PREFIX the bucket has 3 to 63 characters"),
    (f"store push -D /a {STORE} --store-endpoint ftp://x", 'wrong value "ftp://x" of --store-endpoint',
     "http://127.0.0.1:9000"),
    (f"store push -D /a {STORE} --store-proxy http://u:p@proxy:3128",
     "wrong value of --store-proxy: it must not contain a user and a password", "Set https_proxy in the environment instead"),
    (f"store push -D /a {STORE} --store-sse rot13", 'wrong value "rot13" of --store-sse',
     "It can be AES256, aws:kms or aws:kms:KEY."),
    (f"store push -D /a {STORE} --store-sse aws:kms:", 'wrong value "aws:kms:" of --store-sse', "aws:kms:KEY"),
    (f"store push -D /a {STORE} --store-lock 3d:strict", 'wrong value "3d:strict" of --store-lock',
     "Give it as in 30d, 30d:governance or 30d:compliance."),
    (f"store push -D /a {STORE} --store-name a/b", 'wrong value "a/b" of --store-name', "It must not contain a slash or a space."),
    (f"store push -D /a {STORE} --retry-for 1h --follow", "options --retry-for and --follow cannot be used together", None),
    (f"store ls -D /a {STORE} --follow", 'option --follow cannot be used with "store ls"', 'See "pgweir store --help".'),
    (f"store rewrap -D /a {STORE}", "store rewrap needs --identity or --identity-command", None),
    (f"store get {STORE} --store-name x", "store get takes a name and a target", None),
    ("store keygen", "store keygen takes a file", None),
    ("verify -D {empty} --manifest-public-key k", "option --manifest-public-key requires --store", None),
    (f"verify -D {{empty}} --compare-archive /b {STORE}", "options --compare-archive and --store cannot be used together",
     None),
]
# restore_command's: what the server takes for "stop the recovery", and never for the end of the WAL.
OF_RESTORE = [
    ("restore -D /a f", "expected two names, %f and %p, found 1", "The setting is restore_command = "),
    ("restore -D /a --find-time soon", 'wrong value "soon" of --find-time: not a time',
     "Give it as in '2026-11-20 03:14:15+00', or a day as in 2026-11-20."),
    ("restore -D /a --find-lsn 0/1 --partial", "options --partial and --find-lsn cannot be used together", None),
    ("restore -D /a --find-lsn 0/1 word", 'unexpected argument "word"', None),
]


def refuses(status, words, what, hint):
    done = pgweir(*words)
    assert done.returncode == status and done.stdout == "", done
    first, *rest = done.stderr.splitlines()
    assert first.startswith(f"pgweir: error: {what}"), done.stderr
    assert not rest or rest[0].startswith("pgweir: hint: "), done.stderr
    if hint:
        assert hint in rest[0], done.stderr


@pytest.mark.parametrize("line, what, hint", ROWS, ids=[row[0] for row in ROWS])
def test_of_options(place, line, what, hint):
    refuses(2, line.format(empty=place).split(), what, hint)


@pytest.mark.parametrize("line, what, hint", OF_RESTORE, ids=[row[0] for row in OF_RESTORE])
def test_of_restore(line, what, hint):
    refuses(200, line.split(), what, hint)


def test_a_failover_of_an_empty_archive(place):
    refuses(4, ["doctor", "--failover", "-D", place, "-d", "host=x"],
            "the archive is empty, so a failover cannot be assessed", "Archive some WAL first.")
