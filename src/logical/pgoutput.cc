#include "logical/pgoutput.h"

#include <fmt/format.h>

#include <chrono>
#include <iterator>

#include "base/error.h"
#include "logical/json_text.h"
#include "wal/pg_time.h"

namespace weir::logical {

namespace {

/// Microseconds since 2000-01-01 UTC, as "2026-11-20T10:00:00.123456Z"; years after 9999 as the
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

}  // namespace

/// Reads big-endian numbers and the like; throws at the end of the message.
class Pgoutput::Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes), size_(bytes.size()) {}

  std::string_view take(std::size_t count) {
    if (count > rest_.size()) throw wrong("is truncated");
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
    if (end == std::string_view::npos) throw wrong("has an unterminated text");
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
            "The server violated the protocol, or uses an unsupported version. proto_version can "
            "be 1 to 4.");
  }

 private:
  std::string_view rest_;
  std::size_t size_;
};

/// One message, and the object built from it: each function adds a member, from the next bytes
/// unless a value is given.
class Pgoutput::Message {
 public:
  Message(Reader& from, std::string& to) : in(from), out(to) {}

  void kind(wal::Lsn start, std::string_view kind) {
    out += R"({"lsn":)";
    if (start.valid())
      fmt::format_to(std::back_inserter(out), "\"{}\"", start);
    else
      out += "null";
    fmt::format_to(std::back_inserter(out), R"(,"kind":"{}")", kind);
  }
  template <typename Value>
  void number(std::string_view name, Value value) {
    fmt::format_to(std::back_inserter(out), R"(,"{}":{})", name, value);
  }
  void text(std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(out), R"(,"{}":)", name);
    append_json_text(out, value);
  }
  void text(std::string_view name) { text(name, in.text()); }
  void lsn(std::string_view name) {
    fmt::format_to(std::back_inserter(out), R"(,"{}":"{}")", name, in.lsn());
  }
  void time(std::string_view name) {
    fmt::format_to(std::back_inserter(out), R"(,"{}":)", name);
    append_time(out, in.clock());
  }
  void table(const Relation& relation) {
    text("schema", relation.schema);
    text("table", relation.name);
  }
  /// Adds nothing.
  void no_flags() {
    if (in.u8() != 0) throw in.wrong("has unknown flags");
  }

  Reader& in;
  std::string& out;
};

void Pgoutput::decode(wal::Lsn start, std::string_view message, std::string& out) {
  const std::size_t before = out.size();
  Reader in(message);
  try {
    const char type = in.letter();
    Message made(in, out);
    decode_body(start, type, made);
    if (!in.at_end()) throw in.wrong("has trailing bytes").with("type", static_cast<int>(type));
  } catch (...) {
    out.resize(before);
    throw;
  }
  out += '}';
}

void Pgoutput::decode_body(wal::Lsn start, char type, Message& message) {
  struct Kind {
    char type;
    std::string_view name;
    void (Pgoutput::*decode)(Message& message);
  };
  static constexpr Kind kKinds[] = {
      {'B', "begin", &Pgoutput::decode_begin},
      {'C', "commit", &Pgoutput::decode_commit},
      {'b', "begin_prepare", &Pgoutput::decode_begin_prepare},
      {'P', "prepare", &Pgoutput::decode_prepare},
      {'K', "commit_prepared", &Pgoutput::decode_commit_prepared},
      {'r', "rollback_prepared", &Pgoutput::decode_rollback_prepared},
      {'S', "stream_start", &Pgoutput::decode_stream_start},
      {'E', "stream_stop", &Pgoutput::decode_stream_stop},
      {'p', "stream_prepare", &Pgoutput::decode_prepare},
      {'c', "stream_commit", &Pgoutput::decode_stream_commit},
      {'A', "stream_abort", &Pgoutput::decode_stream_abort},
      {'O', "origin", &Pgoutput::decode_origin},
      {'R', "relation", &Pgoutput::decode_relation},
      {'Y', "type", &Pgoutput::decode_type},
      {'M', "message", &Pgoutput::decode_logical_message},
      {'I', "insert", &Pgoutput::decode_insert},
      {'U', "update", &Pgoutput::decode_update},
      {'D', "delete", &Pgoutput::decode_delete},
      {'T', "truncate", &Pgoutput::decode_truncate},
  };
  for (const auto& kind : kKinds) {
    if (kind.type != type) continue;
    message.kind(start, kind.name);
    return (this->*kind.decode)(message);
  }
  throw message.in.wrong("has an unknown type")
      .with("type", fmt::format("0x{:02x}", static_cast<unsigned char>(type)));
}

// --- Transactions --------------------------------------------------------------------------------

void Pgoutput::decode_begin(Message& message) {
  message.lsn("commit_lsn");
  message.time("time");
  xid_ = message.in.u32();
  append_transaction(message);
}

void Pgoutput::decode_commit(Message& message) {
  append_transaction(message);
  message.no_flags();
  message.lsn("commit_lsn");
  message.lsn("end_lsn");
  message.time("time");
  xid_.reset();
}

void Pgoutput::decode_begin_prepare(Message& message) {
  message.lsn("prepare_lsn");
  message.lsn("end_lsn");
  message.time("time");
  xid_ = message.in.u32();
  append_transaction(message);
  message.text("gid");
}

/// Prepare, and Stream Prepare.
void Pgoutput::decode_prepare(Message& message) {
  message.no_flags();
  message.lsn("prepare_lsn");
  message.lsn("end_lsn");
  message.time("time");
  message.number("xid", message.in.u32());
  message.text("gid");
  xid_.reset();
}

void Pgoutput::decode_commit_prepared(Message& message) {
  message.no_flags();
  message.lsn("commit_lsn");
  message.lsn("end_lsn");
  message.time("time");
  message.number("xid", message.in.u32());
  message.text("gid");
}

void Pgoutput::decode_rollback_prepared(Message& message) {
  message.no_flags();
  message.lsn("prepare_end_lsn");
  message.lsn("end_lsn");
  message.time("prepare_time");
  message.time("time");
  message.number("xid", message.in.u32());
  message.text("gid");
}

void Pgoutput::decode_stream_start(Message& message) {
  xid_ = message.in.u32();
  append_transaction(message);
  message.number("first", message.in.u8() != 0);
  in_block_ = true;
}

void Pgoutput::decode_stream_stop(Message& message) {
  append_transaction(message);
  in_block_ = false;
  xid_.reset();
}

void Pgoutput::decode_stream_commit(Message& message) {
  message.number("xid", message.in.u32());
  message.no_flags();
  message.lsn("commit_lsn");
  message.lsn("end_lsn");
  message.time("time");
}

void Pgoutput::decode_stream_abort(Message& message) {
  message.number("xid", message.in.u32());
  message.number("subxid", message.in.u32());
  if (message.in.at_end()) return;
  message.lsn("abort_lsn");  // streaming=parallel
  message.time("time");
}

void Pgoutput::decode_origin(Message& message) {
  append_transaction(message);
  message.lsn("origin_lsn");
  message.text("origin");
}

// --- What a transaction has ----------------------------------------------------------------------

void Pgoutput::decode_type(Message& message) {
  append_streamed_xid(message);
  message.number("oid", message.in.u32());
  const auto schema = message.in.text();
  message.text("schema", schema.empty() ? "pg_catalog" : schema);
  message.text("name");
}

void Pgoutput::decode_logical_message(Message& message) {
  append_streamed_xid(message);
  const auto flags = message.in.u8();
  if (flags > 1) throw message.in.wrong("has unknown flags");
  message.number("transactional", flags == 1);
  message.lsn("message_lsn");
  message.text("prefix");
  message.text("content", message.in.take(message.in.u32()));
}

const Pgoutput::Relation& Pgoutput::begin_row(Message& message) {
  append_streamed_xid(message);
  const auto& table = relation(message.in);
  message.table(table);
  return table;
}

void Pgoutput::decode_insert(Message& message) {
  const auto& table = begin_row(message);
  if (message.in.letter() != 'N') throw message.in.wrong("lacks the new row");
  append_tuple(table, "new", false, message);
}

void Pgoutput::decode_update(Message& message) {
  const auto& table = begin_row(message);
  char part = message.in.letter();
  if (part == 'K' || part == 'O') {
    append_tuple(table, part == 'K' ? "key" : "old", part == 'K', message);
    part = message.in.letter();
  }
  if (part != 'N') throw message.in.wrong("lacks the new row");
  append_tuple(table, "new", false, message);
}

void Pgoutput::decode_delete(Message& message) {
  const auto& table = begin_row(message);
  const char part = message.in.letter();
  if (part != 'K' && part != 'O') throw message.in.wrong("lacks the old row");
  append_tuple(table, part == 'K' ? "key" : "old", part == 'K', message);
}

void Pgoutput::decode_relation(Message& message) {
  append_streamed_xid(message);
  auto& in = message.in;
  auto& out = message.out;
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

  message.table(relation);
  const char* identity = relation.identity == 'd'   ? "default"
                         : relation.identity == 'n' ? "nothing"
                         : relation.identity == 'f' ? "full"
                         : relation.identity == 'i' ? "index"
                                                    : nullptr;
  if (identity == nullptr) throw in.wrong("has an unknown replica identity");
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

void Pgoutput::decode_truncate(Message& message) {
  append_streamed_xid(message);
  auto& in = message.in;
  auto& out = message.out;
  const auto count = in.u32();
  const auto options = in.u8();
  if (options > 3) throw in.wrong("has unknown flags");
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
  if (found == relations_.end()) throw in.wrong("refers to an undefined relation").with("oid", id);
  return found->second;
}

/// Values are PostgreSQL's text representation, as JSON strings, so that numbers keep their
/// precision.
void Pgoutput::append_tuple(const Relation& relation, std::string_view name, bool keys_only,
                            Message& message) {
  auto& in = message.in;
  auto& out = message.out;
  const auto count = in.u16();
  if (count != relation.columns.size())
    throw in.wrong("does not have the number of columns of its relation")
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
    // A member's name must be a string; a name is not valid UTF-8 only in a database without
    // encoding.
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
        throw in.wrong("has a value of an unknown format")
            .with("form", fmt::format("0x{:02x}", static_cast<unsigned char>(form)));
    }
  }
  out += '}';
  if (!unchanged.empty())
    fmt::format_to(std::back_inserter(out), R"(,"{}_unchanged":[{}])", name, unchanged);
}

/// In a block of a streamed transaction the message names the transaction or subtransaction that it
/// belongs to; elsewhere it is that of the BEGIN message.
void Pgoutput::append_streamed_xid(Message& message) {
  append_transaction(message);
  if (!in_block_) return;
  const auto own = message.in.u32();
  if (own != 0 && xid_ != own) message.number("subxid", own);  // 0: of no transaction
}

void Pgoutput::append_transaction(Message& message) const {
  if (xid_) message.number("xid", *xid_);
}

}  // namespace weir::logical
