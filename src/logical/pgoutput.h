#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wal/lsn.h"

namespace weir::logical {

/// Decodes what the plugin pgoutput writes, protocol versions 1 to 4, into JSON objects, one a
/// message; the objects are described in docs/logical.md. Source of the format: PostgreSQL
/// documentation, "Logical Replication Message Formats", and replication/logical/proto.c.
///
/// Keeps the relations that were announced, so the messages have to come in order, from the
/// beginning of a stream; a new stream needs a new decoder. Pure. For any bytes: Error{protocol}
/// for what is no message, or speaks of a relation that was not announced.
class Pgoutput {
 public:
  /// Appends the object, without a newline, to `out`; nothing on an error. `start` is the position
  /// of the message, 0/0 if it has none.
  void decode(wal::Lsn start, std::string_view message, std::string& out);

 private:
  struct Column {
    std::string name;
    bool key = false;
    std::uint32_t type = 0;
    std::int32_t modifier = -1;
  };
  struct Relation {
    std::string schema;
    std::string name;
    char identity = 'd';
    std::vector<Column> columns;
  };
  class Reader;

  void decode_body(wal::Lsn start, char type, Reader& in, std::string& out);
  void decode_relation(Reader& in, std::string& out);
  void decode_truncate(Reader& in, std::string& out);
  const Relation& relation(Reader& in);
  void append_tuple(Reader& in, const Relation& relation, std::string_view name, bool keys_only,
                    std::string& out);
  void append_streamed_xid(Reader& in, std::string& out);
  void append_transaction(std::string& out) const;

  std::map<std::uint32_t, Relation> relations_;
  std::optional<std::uint32_t> xid_;  ///< of the transaction that is being sent
  bool in_block_ =
      false;  ///< between Stream Start and Stream Stop: each message names its (sub)xid
};

}  // namespace weir::logical
