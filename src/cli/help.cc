#include "cli/help.h"

#include <fmt/format.h>

#include <cstdio>

#include "cli/arguments.h"
#include "cli/exit_status.h"
#include "cli/program.h"
#include "cli/suggest.h"

namespace weir::cli {

namespace {

struct Topic {
  std::string_view name;
  std::string_view (*text)();
};

constexpr Topic kTopics[] = {
    {"receive", receive_help}, {"restore", restore_help}, {"verify", verify_help},
    {"ack", ack_help},         {"prune", prune_help},     {"compress", compress_help},
    {"slot", slot_help},       {"status", status_help},   {"config", config_help},
    {"doctor", doctor_help},   {"listen", listen_help},   {"notify", notify_help},
    {"logical", logical_help},
};

}  // namespace

int help_command(const Words& words) {
  if (words.empty() || words.front() == "--help") {
    print(general_help());
    return kDone;
  }
  std::vector<std::string_view> names;
  for (const auto& topic : kTopics) {
    if (words.front() == topic.name) {
      print(topic.text());
      return kDone;
    }
    names.push_back(topic.name);
  }
  Error error(ErrorKind::usage, fmt::format("no help on \"{}\"", words.front()));
  if (const auto near = nearest(words.front(), names))
    error.hint(fmt::format("Did you mean {}?", *near));
  throw error;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(ErrorKind::io, "could not write to the standard output");
}

std::string_view version_text() {
  return "pgweir " PGWEIR_VERSION
         "\n"
         "for PostgreSQL 13 to 18\n";
}

std::string_view pg_receivewal_version() {
  // Programs that call it read a version of PostgreSQL here: the newest it can stream from.
  return "pg_receivewal (PostgreSQL) 18.0 (pgweir " PGWEIR_VERSION ")\n";
}

std::string_view pg_recvlogical_version() {
  return "pg_recvlogical (PostgreSQL) 18.0 (pgweir " PGWEIR_VERSION ")\n";
}

std::string_view pg_recvlogical_help() {
  return R"(pg_recvlogical streams a database's changes to a file (this is pgweir's).

Usage:
  pg_recvlogical [OPTION]...

Actions, at least one:
      --create-slot      make the logical replication slot
      --drop-slot        drop it
      --start            stream from it

Options:
  -E, --endpos=LSN       stop when this position has come
      --enable-failover  with --create-slot: standbys keep it in step (17+)
      --enable-two-phase, -t, --two-phase
                         with --create-slot: decode at PREPARE TRANSACTION
  -f, --file=FILE        where to write, "-" for standard output
  -F, --fsync-interval=SECS
                         seconds between syncs of the file (default: 10)
      --if-not-exists    with --create-slot: one that is there will do
  -I, --startpos=LSN     where to begin, if the slot has not moved past it
  -n, --no-loop          end when the connection is lost
  -o, --option=NAME[=VALUE]
                         an option of the output plugin
  -P, --plugin=PLUGIN    the slot's output plugin (default: test_decoding)
  -s, --status-interval=SECS
                         seconds between reports, 0: none (default: 10)
  -S, --slot=SLOTNAME    the slot's name
  -v, --verbose          tell what happens
  -V, --version          print the version, then exit
  -?, --help             print this, then exit

Connection options:
  -d, --dbname=DBNAME    database, connection string or URI
  -h, --host=HOSTNAME    name of the server, or the directory of its socket
  -p, --port=PORT        its port
  -U, --username=NAME    user to connect as
  -w, --no-password      never ask for a password
  -W, --password         ask for a password in any case

The options mean what they mean to PostgreSQL's own program of this name.
)";
}

std::string_view pg_receivewal_help() {
  return R"(pg_receivewal archives PostgreSQL's WAL as it is written (this is pgweir's).

Usage:
  pg_receivewal [OPTION]...

Options:
  -D, --directory=DIR    where to keep the WAL segments
  -E, --endpos=LSN       stop when WAL behind this position has come
      --if-not-exists    with --create-slot: one that is there will do
  -n, --no-loop          end when the connection is lost
      --no-sync          do not wait for the disk: unsafe
  -s, --status-interval=SECS
                         seconds between reports, 0: none (default: 10)
  -S, --slot=SLOTNAME    the replication slot to stream through
      --synchronous      make WAL durable, and report it, at once
  -v, --verbose          tell what happens; twice: more of it
  -V, --version          print the version, then exit
  -Z, --compress=METHOD[:DETAIL]
                         none, gzip, lz4 or zstd, with a level if wanted
  -?, --help             print this, then exit

Connection options:
  -d, --dbname=CONNSTR   connection string or URI
  -h, --host=HOSTNAME    name of the server, or the directory of its socket
  -p, --port=PORT        its port
  -U, --username=NAME    user to connect as
  -w, --no-password      never ask for a password
  -W, --password         ask for a password in any case

Optional actions:
      --create-slot      make the replication slot that --slot names, then exit
      --drop-slot        drop it, then exit

The options mean what they mean to PostgreSQL's own program of this name.
)";
}

std::string_view general_help() {
  return R"(pgweir archives PostgreSQL's WAL by streaming replication.

Usage:
  pgweir COMMAND [OPTION]...

Commands:
  receive   stream WAL from a server into an archive directory
  restore   restore_command: hand a segment to a server that recovers
  verify    check an archive: every record, gaps, timelines, a backup's WAL
  ack       note that somebody knows of a loss of WAL
  prune     remove what no kept backup needs
  compress  convert an existing archive to zstd in place
  status    what an archive holds, and how its receiver is doing
  doctor    check what archiving needs: server, slot, directory, disk
  slot      create, drop or list replication slots
  logical   stream the changes of a database, each exactly once
  config    check a configuration file, or show what a command takes from it
  listen    print notifications (LISTEN), or run a command for each
  notify    send one (NOTIFY)
  help      help on a command: pgweir help receive

Options:
  -c, --config FILE
                  take options from a file, too: see pgweir config --help
  -?, --help      this help; pgweir COMMAND --help tells a command's options
  -V, --version   the version

To begin:
  pgweir receive -D /srv/wal -d "host=db1 user=repl" -S weir --create-slot \
                 --if-not-exists --compress zstd
  pgweir status -D /srv/wal

Exit status:
  0   done, or stopped as asked
  1   asked, and the answer is no (a check that found something)
  2   wrong options or configuration
  3   may pass if tried again: no connection, disk full
  4   needs a person: WAL is missing or damaged, another cluster's archive,
      a failed sync
  200 no command, an unknown one, or an option before it: PostgreSQL, if this
      is its restore_command, stops instead of opening with data missing

Manual: man pgweir, man pgweir-receive, man pgweir-restore
)";
}

std::string_view verify_help() {
  return R"(pgweir verify reads every segment of an archive and says what a recovery would
not find or would stumble over. It never writes and needs no lock.

Usage:
  pgweir verify -D DIRECTORY [OPTION]...

Options:
  -D, --directory DIR      the archive
      --from LSN|SEGMENT   check from here on (default: the archive's beginning)
      --to LSN|SEGMENT     up to here; the archive must reach it
      --timeline N         only the way to this timeline
      --backup PATH        a backup_label, a .backup file, a backup_manifest or
                           a backup's directory: can this backup be brought to
                           consistency, and how far forward
      --accept-file FILE   known losses: lines of "TIMELINE FROM TO REASON"
  -j, --jobs N             threads (default: all processors)
      --json               for programs; docs/verify.md tells the format
      --no-progress        no bar on the terminal
      --metrics-file FILE  leave the figures there (FILE.prom) for Prometheus
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Exit status: 0 a recovery over this range finds everything; 1 something was
found; 2 wrong usage; 3 stopped or may pass; 4 the directory cannot be read.

Manual: man pgweir-verify
)";
}

std::string_view ack_help() {
  return R"(pgweir ack notes that somebody knows of a loss of WAL, so that "pgweir status
--check" and the alerts of the metrics call nobody for it any more. A loss is a hole in the
archive, or WAL that it has and a failover left behind. What is lost stays lost: status goes
on showing it, verify goes on finding it (--accept-file), restore stops at it.

Usage:
  pgweir ack -D DIRECTORY [ID]... [OPTION]...

Without an ID and --all it lists what there is. A receiver may be at work meanwhile.

Options:
  -D, --directory DIR      the archive
      --all                all that are not acknowledged
      --reason TEXT        what is kept with it
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Manual: man pgweir-ack
)";
}

std::string_view prune_help() {
  return R"(pgweir prune removes the oldest segments of an archive, those that nothing you
keep needs. History files stay. A receiver may be at work meanwhile.

Usage:
  pgweir prune -D DIRECTORY [OPTION]...

Options:
  -D, --directory DIR      the archive
      --keep-from-backup PATH [PATH]...
                           keep what these backups need: each a backup_label, a
                           .backup file, a backup_manifest or a directory
      --keep-from LSN|SEGMENT
                           keep this segment and all later ones
      --older-than TIME    and remove only files last written so long ago, such
                           as 14d
  -n, --dry-run            only list what would be removed
  -v, --verbose            name each file
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Called as pg_archivecleanup it takes that program's arguments.

Manual: man pgweir-prune
)";
}

std::string_view compress_help() {
  return R"(pgweir compress converts the finished segments of an archive (raw, .gz, .lz4) to
zstd in place. Each is checked, and what was written is read again and
compared, before the old file goes. It can be stopped and run again at any time,
and a receiver may be at work meanwhile.

Usage:
  pgweir compress -D DIRECTORY [OPTION]...

Options:
  -D, --directory DIR      the archive
      --method zstd[:N]    compression level (default: zstd's own)
  -j, --jobs N             threads (default: all processors)
  -n, --dry-run            only list what would be converted
      --no-progress        no bar on the terminal
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Exit status: 0 done; 1 some segments are damaged and were left as they are.

Manual: man pgweir-compress
)";
}

std::string_view restore_help() {
  return R"(pgweir restore gives a recovering server one file of the archive, checked: the
setting is

  restore_command = 'pgweir restore -D /srv/wal %f %p'

Usage:
  pgweir restore -D DIRECTORY [OPTION]... FILE TARGET
  pgweir restore -D DIRECTORY --find-time TIME | --find-lsn LSN [--timeline N]

The segment may be raw, .zst, .gz or .lz4. Page headers, the cluster and the
checksum of every record are checked on the way; nothing stands under TARGET
that is not whole and sound.

Options:
  -D, --directory DIR      the archive
      --partial            hand out the unfinished .partial, too, as the last
                           resort: up to its last complete record, so that the
                           last bytes of a lost primary are recovered
      --partial-damaged    as --partial, also if it is damaged: the WAL behind
                           the damage is lost
      --up-to-hole         recover everything before the first hole on the way,
                           the unfinished segment before it included, and then
                           end the recovery; never done unasked
      --on-gap WHAT        a segment is missing although later ones are there:
                           stop the recovery (default), or absent: for a
                           standby that can stream it
      --allow-empty        an archive without any WAL is no error
      --retry-for TIME     go on trying for so long when an error may pass, such
                           as of a network file system (default: 10s)
      --prefetch N         let a helper process fetch and check the next N
                           segments while the server replays this one
                           (default: 4; 0: no helper)
      --no-verify          check sizes and frames only
  -v, --verbose            say why a file is absent, or that it was prefetched
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

To choose a moment to recover to (with the settings for it, and the holes):
      --find-time TIME     the commits around '2026-11-20 03:14:15+00'; without
                           a zone it is local time
      --find-lsn LSN       the commits around a position
      --timeline N         along this timeline's history (default: the newest)
      --json

Exit status: 0 restored; 1 surely not in the archive, which ends a recovery or
lets a standby stream; 200 anything else, which stops the server.

Manual: man pgweir-restore
)";
}

std::string_view receive_help() {
  return R"(pgweir receive streams WAL from a PostgreSQL server, primary or standby, into a
directory, and acknowledges only what is durable there. Stopped in whatever way,
it goes on where the archive ends.

Usage:
  pgweir receive -D DIRECTORY [-d CONNINFO] [OPTION]...

Where to:
  -D, --directory DIR      the archive; must exist. One receiver at a time.
  -Z, --compress METHOD    none, zstd, or zstd:LEVEL with 1 to 22: compress
                           finished segments in the background (default: none)

Where from:
  -d, --dbname CONNINFO    connection string or URI; several hosts are tried in
                           turn. With dbname=..., the slot is watched, too.
  -h, --host HOST          host or socket directory
  -p, --port PORT
  -U, --username NAME      a role with REPLICATION
  -w, --no-password        accepted; a password is never asked for. Use a
                           password file (~/.pgpass).
  Without these libpq's defaults count: PGHOST, PGUSER, PGSERVICE, ...

Slot, so that the server keeps what is not archived yet:
  -S, --slot NAME          stream from this physical slot
      --create-slot        create it when the server is known to be the right
                           one; it reserves WAL at once
      --if-not-exists      no error if it exists
      --monitor-conninfo CONNINFO
                           ordinary connection to watch the slot's health over
                           (default: -d, if that names a database)

To tell others what the archive does (docs/notify.md):
      --notify-channel CHANNEL
                           by NOTIFY: segments finished and compressed,
                           timelines switched, trouble. Never holds up the
                           archive
      --notify-conninfo CONNINFO
                           ordinary connection to a primary to send it over
                           (default: -d; database postgres if none is named)

Where to begin and end:
      --start LSN|SEGMENT  begin an empty archive there (default: the slot's
                           restart position, else the server's position)
  -E, --endpos LSN         stop when everything before it is durable

When something is wrong:
  -n, --no-loop            end at the first failure instead of trying again
      --on-gap WHAT        the server no longer has the WAL that comes next:
                           stop (default), or continue, leaving a hole
      --on-disk-full WHAT  wait (default) until there is space, or stop
      --timeout TIME       a server silent for so long is gone (default: 60s)

What the server is told:
      --flush WHEN         make WAL durable: continuous (default), at once; a
                           time, 200ms: at least so often; segment: when one is
                           complete
      --apply-position P   flush (default): commits that wait for remote_apply
                           do not hang; none: report nothing
  -s, --status-interval TIME
                           report at least so often (default: 10s)

Messages:
      --log-level LEVEL    debug, info (default), warning, error
  -v, --verbose            --log-level debug
  -q, --quiet              --log-level warning
      --log-file FILE      log there instead of stderr
      --log-format FORMAT  text (default), or json: one object on each line
  -c, --config FILE        read options from FILE: lines such as
                           slot = weir; the command line wins; see
                           pgweir config --help
  -?, --help               this help

Metrics, for Prometheus (docs/monitoring.md lists them):
      --metrics-file FILE  FILE.prom for node_exporter's textfile collector
      --metrics-interval TIME
                           so often (default: 15s)
      --metrics-listen [ADDRESS:]PORT
                           serve http://ADDRESS:PORT/metrics; without an address
                           for this machine only

Times have a unit: 500ms, 10s, 5min.

Signals:
  SIGTERM, SIGINT   make durable what was received, report it, end with 0;
                    the second one ends at once with 3
  SIGHUP            open the log file anew, read log-level from the file of -c

Examples:
  An archive with a slot that is made when it is not there:
    pgweir receive -D /srv/wal -d "host=db1 user=repl dbname=postgres" \
                   -S weir --create-slot --if-not-exists --compress zstd
  From whichever of two hosts answers:
    pgweir receive -D /srv/wal -d "host=db1,db2 user=repl" -S weir
  Commits wait for the archive (on the server):
    synchronous_standby_names = 'pgweir'
  "requested WAL segment has already been removed": the error names the missing
  range. Fetch it from another archive into DIR and start again; or take a new
  base backup and accept the hole:
    pgweir receive -D /srv/wal -d "host=db1 user=repl" -S weir --on-gap continue
  How is it doing?
    pgweir status -D /srv/wal

Exit status: 0 stopped as asked; 2 wrong options; 3 may pass if tried again;
4 needs a person.
)";
}

std::string_view logical_help() {
  return R"(pgweir logical streams the changes of one database, each exactly once

Usage:
  pgweir logical [stream] -S SLOT -d CONNINFO [-f FILE] [-o NAME=VALUE]...
  pgweir logical create -S SLOT -d CONNINFO [-P PLUGIN] [-t] [--failover]
  pgweir logical drop   -S SLOT -d CONNINFO [--if-exists]
  pgweir logical peek|get -S SLOT -d CONNINFO [-o NAME=VALUE]... [--limit N]

  stream   write the changes to a file; whatever crashes, the file goes on
           without loss, repetition or torn transactions
  peek     print what the slot holds now and leave it there
  get      print it and move the slot on

Options:
  -S, --slot NAME         the logical replication slot
  -f, --file FILE         where to write (default: standard output)
      --format FORM       jsonl: one JSON object a line, with its position;
                          plugin: as the plugin gives it (default: jsonl)
  -o, --option NAME[=VALUE]
                          an option of the output plugin; may be repeated
      --create-slot       make the slot before streaming
  -P, --plugin PLUGIN     its output plugin (default: pgoutput)
  -t, --two-phase         decode at PREPARE TRANSACTION (15+)
      --failover          standbys keep the slot in step (17+)
      --if-not-exists     a slot that is there already will do
      --if-exists         drop: one that is not there is no error
      --snapshot-command CMD
                          run CMD with the new slot's snapshot, which it finds
                          in $PGWEIR_SNAPSHOT, then stream from exactly there
  -E, --endpos LSN        stop at this position, with whole transactions
  -I, --startpos LSN      where to begin, for an output without state
      --limit N           peek, get: about so many changes
      --no-state          append to the file and keep no state beside it: a
                          restart may repeat changes
      --rotate-size SIZE  begin a new file when it is larger, such as 64MB
      --rotate-time TIME  begin a new file after that time, such as 1h
  -F, --fsync-interval TIME
                          how often to sync and confirm (default: 1s)
  -s, --status-interval TIME
                          how often to report if nothing happens (default: 10s)
  -n, --no-loop           end when the connection is lost
  -c, --config FILE       read options from a file, too
      --log-file FILE     write messages there
  -v, --verbose           tell more
  -q, --quiet             tell only what is wrong
  -?, --help              show this help

Connection:
  -d, --dbname CONNINFO   connection string, URI or database
  -h, --host HOST         server, or directory of its socket
  -p, --port PORT         its port
  -U, --username NAME     user, who needs REPLICATION
  -w, --no-password       never ask for a password

pgoutput needs --option publication_names=NAME. SIGHUP opens the file anew.
)";
}

std::string_view slot_help() {
  return R"(pgweir slot creates, drops and lists replication slots.

Usage:
  pgweir slot create -S NAME [-d CONNINFO] [--if-not-exists]
  pgweir slot drop   -S NAME [-d CONNINFO] [--if-exists]
  pgweir slot list   [-d CONNINFO] [--json]

  create   a physical slot that reserves WAL at once; says from where on
  drop     a slot nobody uses. The server may then remove the WAL it kept.
  list     all slots, what they hold back and whether one is in danger

Options:
  -S, --slot NAME          the slot
      --if-not-exists      create: no error if it exists
      --if-exists          drop: no error if it does not exist
      --json               list: as JSON
  -d, --dbname CONNINFO    connection string, URI, or a database's name; list
                           uses an ordinary connection, by default to the
                           database postgres
  -h, --host HOST          host or socket directory
  -p, --port PORT
  -U, --username NAME      a role with REPLICATION
  -w, --no-password        accepted; a password is never asked for
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Examples:
  pgweir slot create -S weir -d "host=db1 user=repl"
  pgweir slot list -h db1 -U postgres

A slot nobody reads from keeps WAL until the server's disk is full, unless
max_slot_wal_keep_size limits it: drop what you do not need.

Exit status: 0 done; 2 wrong options; 3 may pass if tried again (no connection,
slot in use); 4 needs a person (it exists already, there is none, no right).
)";
}

std::string_view status_help() {
  return R"(pgweir status tells what an archive holds and how its receiver is doing. It
asks the running receiver and looks into the directory; it needs no server.

Usage:
  pgweir status -D DIRECTORY [-d CONNINFO] [OPTION]...

Options:
  -D, --directory DIR      the archive
      --json               for programs; docs/status.md tells the format

To ask the server, too (where it is, how far the archive is behind, the slot):
  -d, --dbname CONNINFO    connection string, URI, or a database's name
  -h, --host HOST          host or socket directory
  -p, --port PORT
  -U, --username NAME      a role with REPLICATION
  -w, --no-password        accepted; a password is never asked for
  -S, --slot NAME          this slot (default: the running receiver's)

For monitoring:
      --check              begin with a line in the format of monitoring plugins
                           and end with their status (below)
      --max-lag SIZE       critical if more WAL is missing here, such as 64MB
      --max-age TIME       critical if the receiver has not heard of the server
                           for so long, such as 5min; an idle server is heard of
      --metrics-file FILE  leave the figures there (FILE.prom) for Prometheus
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Examples:
  pgweir status -D /srv/wal
  pgweir status -D /srv/wal -d "host=db1 user=repl"
  pgweir status -D /srv/wal --check --max-lag 64MB --max-age 5min

Holes are found by the names of the files alone; "pgweir verify" reads them.

Exit status: 0 told; 2 wrong options; 4 the directory cannot be read.
With --check: 0 OK; 1 WARNING; 2 CRITICAL; 3 UNKNOWN, also for wrong options.

Manual: man pgweir-status
)";
}

std::string_view listen_help() {
  return R"(pgweir listen prints what is sent to channels by NOTIFY, and can run a command
for each notification. It connects again when the connection is lost, and says
from when on notifications may have been missed.

Usage:
  pgweir listen [OPTION]... CHANNEL...

Options:
      --json               one JSON object a line, also when listening begins;
                           docs/notify.md tells the format
      --exec CMD           run by "sh -c" for each notification, one at a time,
                           in order; see below
      --exec-connect CMD   run each time listening has begun: at the start and
                           after each loss, when something may have been missed
      --count N            end after N notifications
      --timeout TIME       end after this time, such as 30s
  -n, --no-loop            end when there is no server, or when it is lost
  -q, --quiet              warnings and errors only on standard error
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Which server (a primary: a standby has no notifications) and database:
  -d, --dbname CONNINFO    connection string, URI, or a database's name; if none
                           is named it is the database postgres. Who listens and
                           who notifies must be in the same one
  -h, --host HOST          host or socket directory
  -p, --port PORT
  -U, --username NAME      any role that may log in
  -w, --no-password        accepted; a password is never asked for

Channel names are taken as they are: Orders is not orders. In SQL that is
NOTIFY "Orders", or pg_notify('Orders', …).

A command finds PGWEIR_CHANNEL, PGWEIR_PAYLOAD and PGWEIR_PID (the server
process that sent it) in its environment; --exec-connect's finds PGWEIR_SERVER
and, after a loss, PGWEIR_MISSED_SINCE. Nothing is pasted into the command:
write "$PGWEIR_PAYLOAD" in quotes. One that fails is told, and the next is run.

Example:
  pgweir listen -d "host=db1 dbname=shop" orders --exec 'bill "$PGWEIR_PAYLOAD"'

Exit status: 0 done, or stopped by SIGTERM or SIGINT; 1 --timeout was over
before --count were there, or, with one of the two, a command failed; 2 wrong
options; 3 with --no-loop: no connection, or it was lost; 4 needs a person (no
such database, wrong password, only standbys).

Manual: man pgweir-listen
)";
}

std::string_view notify_help() {
  return R"(pgweir notify sends a notification to those who listen on a channel.

Usage:
  pgweir notify [OPTION]... CHANNEL [PAYLOAD]

A PAYLOAD of - is read from standard input, without the newline at its end. It
is text of less than 8000 bytes. The name of the channel is taken as it is:
Orders is not orders.

Options:
  -d, --dbname CONNINFO    connection string, URI, or a database's name; if none
                           is named it is the database postgres. Who listens and
                           who notifies must be in the same one
  -h, --host HOST          host or socket directory of a primary
  -p, --port PORT
  -U, --username NAME      any role that may log in
  -w, --no-password        accepted; a password is never asked for
  -c, --config FILE        take options from FILE, too: pgweir config --help
  -?, --help               this help

Example:
  pgweir notify -d "host=db1 dbname=shop" orders 4711

Exit status: 0 sent (whether or not anybody listens); 2 wrong options, or a
channel or payload that cannot be sent; 3 may pass if tried again (no
connection); 4 needs a person (no such database, a standby).

Manual: man pgweir-notify
)";
}

}  // namespace weir::cli
