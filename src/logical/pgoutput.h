#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wal/lsn.h"

namespace weir::logical {

/// Decodes the output of the plugin pgoutput, protocol versions 1 to 4, into JSON objects, one for
/// each message; the objects are described in docs/logical.md. Source of the format: PostgreSQL
/// documentation, "Logical Replication Message Formats", and replication/logical/proto.c.
///
/// Keeps the announced relations, so the messages must be passed in order, from the beginning of a
/// stream; a new stream needs a new decoder. Pure. Throws Error{protocol} for bytes that are not a
/// message, or for a message with a relation that was not announced.
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
  class Message;

  void decode_body(wal::Lsn start, char type, Message& message);
  void decode_begin(Message& message);
  void decode_commit(Message& message);
  void decode_begin_prepare(Message& message);
  void decode_prepare(Message& message);
  void decode_commit_prepared(Message& message);
  void decode_rollback_prepared(Message& message);
  void decode_stream_start(Message& message);
  void decode_stream_stop(Message& message);
  void decode_stream_commit(Message& message);
  void decode_stream_abort(Message& message);
  void decode_origin(Message& message);
  void decode_type(Message& message);
  void decode_logical_message(Message& message);
  void decode_insert(Message& message);
  void decode_update(Message& message);
  void decode_delete(Message& message);
  void decode_relation(Message& message);
  void decode_truncate(Message& message);
  const Relation& begin_row(Message& message);
  const Relation& relation(Reader& in);
  void append_tuple(const Relation& relation, std::string_view name, bool keys_only,
                    Message& message);
  void append_streamed_xid(Message& message);
  void append_transaction(Message& message) const;

  std::map<std::uint32_t, Relation> relations_;
  std::optional<std::uint32_t> xid_;  ///< of the transaction that is being sent
  bool in_block_ = false;  ///< of a streamed transaction: each message names its (sub)xid
};

}  // namespace weir::logical
