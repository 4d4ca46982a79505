#include "logical/pgoutput.h"

#include <fmt/format.h>

#include <chrono>
#include <iterator>

#include "base/error.h"
#include "logical/json_text.h"
#include "wal/pg_time.h"

namespace weir::logical {

namespace {

/// Microseconds since 2000-01-01 UTC, as "2026-11-20T10:00:00.123456Z"; years behind 9999 as the
/// number.
void append_time(std::string& out, std::int64_t clock) {
  constexpr auto k2000 = wal::kPgEpoch.count();
  std::int64_t seconds = clock / 1'000'000;
  std::int64_t micros = clock % 1'000'000;
  if (micros < 0) {
    micros += 1'000'000;
    --seconds;
  }
  using namespace std::chrono;
  const sys_seconds time{std::chrono::seconds(seconds + k2000)};
  constexpr std::int64_t kMost = 253'402'300'799 - k2000;  // the end of 9999
  if (seconds < -k2000 || seconds > kMost) {
    fmt::format_to(std::back_inserter(out), "{}", clock);
    return;
  }
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const hh_mm_ss clock_time(time - day);
  fmt::format_to(std::back_inserter(out), R"("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z")",
                 static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                 static_cast<unsigned>(date.day()), clock_time.hours().count(),
                 clock_time.minutes().count(), clock_time.seconds().count(), micros);
}

void append_lsn(std::string& out, std::string_view name, wal::Lsn lsn) {
  fmt::format_to(std::back_inserter(out), R"(,"{}":"{}")", name, lsn);
}

}  // namespace

/// Reads big-endian numbers and the like; throws at the end of the message.
class Pgoutput::Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes), size_(bytes.size()) {}

  std::string_view take(std::size_t count) {
    if (count > rest_.size()) throw wrong("is cut short");
    const auto taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  char letter() { return take(1)[0]; }
  unsigned u8() { return static_cast<unsigned char>(letter()); }
  std::uint64_t number(std::size_t count) {
    std::uint64_t value = 0;
    for (const char c : take(count)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  unsigned u16() { return static_cast<unsigned>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  wal::Lsn lsn() { return wal::Lsn(number(8)); }
  std::int64_t clock() { return static_cast<std::int64_t>(number(8)); }
  /// Up to a zero byte.
  std::string_view text() {
    const auto end = rest_.find('\0');
    if (end == std::string_view::npos) throw wrong("has a text without end");
    const auto text = take(end);
    take(1);
    return text;
  }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  [[nodiscard]] Error wrong(std::string_view what) const {
    return Error(ErrorKind::protocol, fmt::format("a message of pgoutput {}", what))
        .with("byte", size_ - rest_.size())
        .with("bytes", size_)
        .hint(
            "The server sent something else than the protocol allows, or a version that is not "
            "known. proto_version can be 1 to 4.");
  }

 private:
  std::string_view rest_;
  std::size_t size_;
};

void Pgoutput::decode(wal::Lsn start, std::string_view message, std::string& out) {
  const std::size_t before = out.size();
  Reader in(message);
  try {
    const char type = in.letter();
    decode_body(start, type, in, out);
    if (!in.at_end()) throw in.wrong("goes on behind its end").with("type", static_cast<int>(type));
  } catch (...) {
    out.resize(before);
    throw;
  }
  out += '}';
}

void Pgoutput::decode_body(wal::Lsn start, char type, Reader& in, std::string& out) {
  const auto begin = [&](std::string_view kind) {
    out += R"({"lsn":)";
    if (start.valid())
      fmt::format_to(std::back_inserter(out), "\"{}\"", start);
    else
      out += "null";
    fmt::format_to(std::back_inserter(out), R"(,"kind":"{}")", kind);
  };
  const auto xid = [&](std::string_view name, std::uint32_t value) {
    fmt::format_to(std::back_inserter(out), R"(,"{}":{})", name, value);
  };
  const auto time = [&](std::string_view name) {
    fmt::format_to(std::back_inserter(out), R"(,"{}":)", name);
    append_time(out, in.clock());
  };
  const auto gid = [&] {
    out += R"(,"gid":)";
    append_json_text(out, in.text());
  };
  const auto no_flags = [&] {
    if (in.u8() != 0) throw in.wrong("has flags that are not known");
  };

  switch (type) {
    case 'B': {
      begin("begin");
      append_lsn(out, "commit_lsn", in.lsn());
      time("time");
      xid_ = in.u32();
      append_transaction(out);
      return;
    }
    case 'C': {
      begin("commit");
      append_transaction(out);
      no_flags();
      append_lsn(out, "commit_lsn", in.lsn());
      append_lsn(out, "end_lsn", in.lsn());
      time("time");
      xid_.reset();
      return;
    }
    case 'b':    // Begin Prepare
    case 'P':    // Prepare
    case 'p': {  // Stream Prepare
      begin(type == 'b' ? "begin_prepare" : type == 'P' ? "prepare" : "stream_prepare");
      if (type != 'b') no_flags();
      append_lsn(out, "prepare_lsn", in.lsn());
      append_lsn(out, "end_lsn", in.lsn());
      time("time");
      const auto id = in.u32();
      xid("xid", id);
      gid();
      xid_.reset();
      if (type == 'b') xid_ = id;
      return;
    }
    case 'K':  // Commit Prepared
      begin("commit_prepared");
      no_flags();
      append_lsn(out, "commit_lsn", in.lsn());
      append_lsn(out, "end_lsn", in.lsn());
      time("time");
      xid("xid", in.u32());
      gid();
      return;
    case 'r':  // Rollback Prepared
      begin("rollback_prepared");
      no_flags();
      append_lsn(out, "prepare_end_lsn", in.lsn());
      append_lsn(out, "end_lsn", in.lsn());
      time("prepare_time");
      time("time");
      xid("xid", in.u32());
      gid();
      return;
    case 'S':  // Stream Start
      begin("stream_start");
      xid_ = in.u32();
      append_transaction(out);
      fmt::format_to(std::back_inserter(out), R"(,"first":{})", in.u8() != 0);
      in_block_ = true;
      return;
    case 'E':  // Stream Stop
      begin("stream_stop");
      append_transaction(out);
      in_block_ = false;
      xid_.reset();
      return;
    case 'c':  // Stream Commit
      begin("stream_commit");
      xid("xid", in.u32());
      no_flags();
      append_lsn(out, "commit_lsn", in.lsn());
      append_lsn(out, "end_lsn", in.lsn());
      time("time");
      return;
    case 'A':  // Stream Abort
      begin("stream_abort");
      xid("xid", in.u32());
      xid("subxid", in.u32());
      if (!in.at_end()) {  // streaming=parallel
        append_lsn(out, "abort_lsn", in.lsn());
        time("time");
      }
      return;
    case 'O':
      begin("origin");
      append_transaction(out);
      append_lsn(out, "origin_lsn", in.lsn());
      out += R"(,"origin":)";
      append_json_text(out, in.text());
      return;
    case 'R':
      begin("relation");
      append_streamed_xid(in, out);
      decode_relation(in, out);
      return;
    case 'Y': {
      begin("type");
      append_streamed_xid(in, out);
      xid("oid", in.u32());
      out += R"(,"schema":)";
      const auto schema = in.text();
      append_json_text(out, schema.empty() ? "pg_catalog" : schema);
      out += R"(,"name":)";
      append_json_text(out, in.text());
      return;
    }
    case 'M': {
      begin("message");
      append_streamed_xid(in, out);
      const auto flags = in.u8();
      if (flags > 1) throw in.wrong("has flags that are not known");
      fmt::format_to(std::back_inserter(out), R"(,"transactional":{})", flags == 1);
      append_lsn(out, "message_lsn", in.lsn());
      out += R"(,"prefix":)";
      append_json_text(out, in.text());
      out += R"(,"content":)";
      append_json_text(out, in.take(in.u32()));
      return;
    }
    case 'I': {
      begin("insert");
      append_streamed_xid(in, out);
      const auto& table = relation(in);
      out += R"(,"schema":)";
      append_json_text(out, table.schema);
      out += R"(,"table":)";
      append_json_text(out, table.name);
      if (in.letter() != 'N') throw in.wrong("has no new row where one must be");
      append_tuple(in, table, "new", false, out);
      return;
    }
    case 'U': {
      begin("update");
      append_streamed_xid(in, out);
      const auto& table = relation(in);
      out += R"(,"schema":)";
      append_json_text(out, table.schema);
      out += R"(,"table":)";
      append_json_text(out, table.name);
      char part = in.letter();
      if (part == 'K' || part == 'O') {
        append_tuple(in, table, part == 'K' ? "key" : "old", part == 'K', out);
        part = in.letter();
      }
      if (part != 'N') throw in.wrong("has no new row where one must be");
      append_tuple(in, table, "new", false, out);
      return;
    }
    case 'D': {
      begin("delete");
      append_streamed_xid(in, out);
      const auto& table = relation(in);
      out += R"(,"schema":)";
      append_json_text(out, table.schema);
      out += R"(,"table":)";
      append_json_text(out, table.name);
      const char part = in.letter();
      if (part != 'K' && part != 'O') throw in.wrong("has no old row where one must be");
      append_tuple(in, table, part == 'K' ? "key" : "old", part == 'K', out);
      return;
    }
    case 'T':
      begin("truncate");
      append_streamed_xid(in, out);
      decode_truncate(in, out);
      return;
    default:
      throw in.wrong("has a type that is not known")
          .with("type", fmt::format("0x{:02x}", static_cast<unsigned char>(type)));
  }
}

void Pgoutput::decode_relation(Reader& in, std::string& out) {
  const auto id = in.u32();
  Relation relation;
  const auto schema = in.text();
  relation.schema = schema.empty() ? "pg_catalog" : schema;
  relation.name = in.text();
  relation.identity = in.letter();
  const auto columns = in.u16();
  for (unsigned i = 0; i < columns; ++i) {
    Column column;
    const auto flags = in.u8();
    column.key = (flags & 1) != 0;
    column.name = in.text();
    column.type = in.u32();
    column.modifier = static_cast<std::int32_t>(in.u32());
    relation.columns.push_back(std::move(column));
  }

  out += R"(,"schema":)";
  append_json_text(out, relation.schema);
  out += R"(,"table":)";
  append_json_text(out, relation.name);
  const char* identity = relation.identity == 'd'   ? "default"
                         : relation.identity == 'n' ? "nothing"
                         : relation.identity == 'f' ? "full"
                         : relation.identity == 'i' ? "index"
                                                    : nullptr;
  if (identity == nullptr) throw in.wrong("has a replica identity that is not known");
  fmt::format_to(std::back_inserter(out), R"(,"oid":{},"replica_identity":"{}","columns":[)", id,
                 identity);
  for (const auto& column : relation.columns) {
    if (&column != &relation.columns.front()) out += ',';
    out += R"({"name":)";
    append_json_text(out, column.name);
    fmt::format_to(std::back_inserter(out), R"(,"type_oid":{},"type_modifier":{},"key":{}}})",
                   column.type, column.modifier, column.key);
  }
  out += ']';
  relations_.insert_or_assign(id, std::move(relation));
}

void Pgoutput::decode_truncate(Reader& in, std::string& out) {
  const auto count = in.u32();
  const auto options = in.u8();
  if (options > 3) throw in.wrong("has flags that are not known");
  fmt::format_to(std::back_inserter(out), R"(,"cascade":{},"restart_identity":{},"tables":[)",
                 (options & 1) != 0, (options & 2) != 0);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (i > 0) out += ',';
    const auto& table = relation(in);
    out += R"({"schema":)";
    append_json_text(out, table.schema);
    out += R"(,"table":)";
    append_json_text(out, table.name);
    out += '}';
  }
  out += ']';
}

const Pgoutput::Relation& Pgoutput::relation(Reader& in) {
  const auto id = in.u32();
  const auto found = relations_.find(id);
  if (found == relations_.end())
    throw in.wrong("speaks of a relation that was not announced").with("oid", id);
  return found->second;
}

/// Values are PostgreSQL's text of them, as JSON strings: nothing of a number is lost.
void Pgoutput::append_tuple(Reader& in, const Relation& relation, std::string_view name,
                            bool keys_only, std::string& out) {
  const auto count = in.u16();
  if (count != relation.columns.size())
    throw in.wrong("has another number of columns than its relation")
        .with("table", relation.name)
        .with("columns", count);
  fmt::format_to(std::back_inserter(out), R"(,"{}":{{)", name);
  std::string unchanged;
  bool first = true;
  for (const auto& column : relation.columns) {
    const char form = in.letter();
    if (form == 'u') {  // TOASTed and not changed: the server does not send it
      unchanged += unchanged.empty() ? "" : ",";
      append_json_text(unchanged, column.name);
      continue;
    }
    // In a key all other columns are sent as NULL, whatever they were.
    if (form == 'n' && keys_only && !column.key) continue;
    if (!first) out += ',';
    first = false;
    // A member's name has to be a string; a name is no UTF-8 only in a database without encoding.
    if (is_utf8(column.name)) {
      append_json_string(out, column.name);
    } else {
      out += "\"base64:";
      append_base64(out, column.name);
      out += '"';
    }
    out += ':';
    switch (form) {
      case 'n':
        out += "null";
        break;
      case 't':
        append_json_text(out, in.take(in.u32()));
        break;
      case 'b':
        out += R"({"binary":")";
        append_base64(out, in.take(in.u32()));
        out += "\"}";
        break;
      default:
        throw in.wrong("has a value in a form that is not known")
            .with("form", fmt::format("0x{:02x}", static_cast<unsigned char>(form)));
    }
  }
  out += '}';
  if (!unchanged.empty())
    fmt::format_to(std::back_inserter(out), R"(,"{}_unchanged":[{}])", name, unchanged);
}

/// In a block of a streamed transaction the message names the transaction or subtransaction that
/// it belongs to, elsewhere it is that of the begin.
void Pgoutput::append_streamed_xid(Reader& in, std::string& out) {
  append_transaction(out);
  if (!in_block_) return;
  const auto own = in.u32();
  if (own != 0 && xid_ != own)  // 0: of no transaction
    fmt::format_to(std::back_inserter(out), R"(,"subxid":{})", own);
}

void Pgoutput::append_transaction(std::string& out) const {
  if (xid_) fmt::format_to(std::back_inserter(out), R"(,"xid":{})", *xid_);
}

}  // namespace weir::logical
