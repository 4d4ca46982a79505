// What people write: connection strings, hosts, sizes, times, positions, backup labels.

#include <algorithm>
#include <initializer_list>

#include "archive/backup_manifest.h"
#include "archive/backup_point.h"
#include "base/units.h"
#include "codec/codec.h"
#include "fuzz.h"
#include "pq/connection.h"
#include "pq/conninfo.h"
#include "pq/parameters.h"
#include "wal/transaction_end.h"

using namespace weir;

namespace {

template <typename Call>
void only(std::initializer_list<ErrorKind> kinds, Call call) {
  try {
    call();
  } catch (const Error& error) {
    PGWEIR_CHECK(std::ranges::count(kinds, error.kind()) == 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(fuzz::text(data, size));
  if (const auto time = parse_duration(text)) PGWEIR_CHECK(time->count() >= 0);
  static_cast<void>(parse_size(text));
  if (const auto lsn = wal::Lsn::parse(text))
    PGWEIR_CHECK(wal::Lsn::parse(lsn->to_string()) == lsn);
  static_cast<void>(pq::parse_segment_size(text));
  for (const auto* unit : {"us", "ms", "s", "min", "h", "d"})
    if (const auto time = pq::parse_guc_time(text, unit)) PGWEIR_CHECK(time->count() >= 0);
  if (const auto time = wal::PgTime::parse(text))
    PGWEIR_CHECK(wal::PgTime::parse(time->to_string()) == time);
  only({ErrorKind::usage}, [&] { static_cast<void>(codec::Compression::parse(text)); });
  // libpq ends a string at a zero byte.
  const auto cut = text.substr(0, text.find('\0'));
  only({ErrorKind::usage}, [&] { static_cast<void>(pq::parse_conninfo(cut)); });
  only({ErrorKind::usage}, [&] { PGWEIR_CHECK(!pq::split_hosts(cut, "", "").empty()); });
  only({ErrorKind::usage}, [&] { PGWEIR_CHECK(!pq::split_hosts("a,b", cut, "1,2").empty()); });
  only({ErrorKind::usage}, [&] { PGWEIR_CHECK(!pq::split_hosts("a,b", "", cut).empty()); });
  // For messages: must not fail, whatever the string is.
  only({ErrorKind::usage}, [&] { static_cast<void>(pq::describe(cut)); });
  // Damage is what can't be read, a conflict what contradicts itself.
  const auto unreadable_or_contradictory = {ErrorKind::damage, ErrorKind::conflict};
  only(unreadable_or_contradictory,
       [&] { static_cast<void>(archive::parse_backup_label(text, "x")); });
  only(unreadable_or_contradictory,
       [&] { static_cast<void>(archive::parse_backup_manifest(text, "x")); });
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const auto* text :
       {"200ms",
        "10s",
        "5min",
        "64MB",
        "1GB",
        "0",
        "16/B374D848",
        "2026-11-20 03:14:15.9+02:00",
        "2026-02-28T23:59Z",
        "zstd:19",
        "gzip:1",
        "lz4",
        "host=db1,db2 port=5432,5433 user=u password='it''s' dbname=replication",
        "postgresql://u:p%40@[::1]:5432,h2/db?sslmode=require&application_name=x",
        "hostaddr=127.0.0.1 host=/run/postgresql",
        "1,2,",
        "-1",
        "2min",
        "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
        "STOP WAL LOCATION: 0/2000100 (file 000000010000000000000002)\n"
        "CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n"
        "START TIME: 2026-11-20 10:00:00 UTC\nLABEL: x\nSTART TIMELINE: 1\nSTOP TIMELINE: 1\n",
        R"({"PostgreSQL-Backup-Manifest-Version": 2, "System-Identifier": 7301234567890123456,
            "Files": [], "WAL-Ranges": [{"Timeline": 1, "Start-LSN": "0/2000028",
            "End-LSN": "0/2000100"}], "Manifest-Checksum": "00"})"})
    inputs.push_back(test::bytes_of(text));
  return inputs;
}
