#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "pq/replication_stream.h"
#include "wal/lsn.h"
#include "wire/copy_messages.h"

namespace weir::logical {

/// Where in a logical stream a transaction ends and no other one has begun.
///
/// A border has a position P with this property: asked to start at P, the server sends exactly the
/// transactions behind the border. It leaves out the transactions whose commit record starts before
/// P, and sends the others whole (SnapBuildXactNeedsSkip in snapbuild.c). So the output up to a
/// border and P are all that has to be remembered.
///
/// Two things tell a border:
///
/// - The message of a commit, whose position is the end of the commit record. Such a message is
///   recognised by the plugin's own words at its very front, where no value of a row can stand;
///   test_decoding, pgoutput and wal2json are known.
/// - A keepalive that asks for no answer and answers no question of ours. The walsender sends such
///   ones only between two records, when it has to wait for WAL or has left out an empty
///   transaction (WalSndWaitForWal, WalSndUpdateProgress in walsender.c, 13 to 19); all that ends
///   before its position was sent. This needs no knowledge of the plugin. We never ask for a
///   keepalive, or the rule would be wrong: the answer may come in the middle of a transaction.
///
/// There is no border while a streamed transaction is open: parts of it were written, and a start
/// behind them would send it again from its beginning. A transaction that was prepared before the
/// start may be streamed once more, and its prepare is left out (ReorderBufferSkipPrepare in
/// reorderbuffer.c): that lasts until the prepared transaction is committed or rolled back. It has
/// to: nothing in the stream tells it from one that was prepared before the slot's two_phase_at,
/// which is sent whole when it is committed (ReorderBufferFinishPrepared).
class Borders {
 public:
  /// Throws Error{usage} for options under which borders cannot be told.
  Borders(std::string_view plugin, const pq::PluginOptions& options);

  /// The border directly behind the message, if there is one.
  [[nodiscard]] std::optional<wal::Lsn> after_message(wal::Lsn start, std::string_view message);
  /// The border where the keepalive came, if there is one.
  [[nodiscard]] std::optional<wal::Lsn> at_keepalive(const wire::Keepalive& keepalive);
  /// A new stream begins, at a border.
  void reset();
  /// The position of a transaction that is open or has no known border yet: to be known by tests.
  [[nodiscard]] bool streaming() const { return !open_.empty(); }

 private:
  enum class Plugin { test_decoding, pgoutput, wal2json_documents, wal2json, other };

  [[nodiscard]] std::optional<wal::Lsn> border(wal::Lsn position) const;
  void open(std::string_view text, bool is_open);
  void end_named(std::string_view message);

  Plugin plugin_ = Plugin::other;
  std::set<std::string, std::less<>> open_;  ///< streamed transactions, by xid
};

}  // namespace weir::logical
