#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "pq/replication_stream.h"
#include "wal/lsn.h"
#include "wire/copy_messages.h"

namespace weir::logical {

/// Positions in a logical stream at which a transaction ends and no other one has started.
///
/// A border has a position P with this property: if streaming starts at P, the server sends exactly
/// the transactions after the border. It leaves out the transactions whose commit record starts
/// before P, and sends the others whole (SnapBuildXactNeedsSkip in snapbuild.c). The output up to a
/// border and P are therefore the only state that must be kept.
///
/// Two kinds of messages show a border:
///
/// - The message of a commit, whose position is the end of the commit record. Such a message is
///   recognized by the plugin's own keywords at its very start, where no value of a row can appear;
///   test_decoding, pgoutput and wal2json are known.
/// - A keepalive that requests no reply and does not answer a request of ours. The walsender sends
///   such messages only between two records, when it must wait for WAL or has skipped an empty
///   transaction (WalSndWaitForWal, WalSndUpdateProgress in walsender.c, 13 to 19); all that ends
///   before its position was sent. This needs no knowledge of the plugin. pgweir never requests a
///   keepalive, which would break the rule: the answer may arrive in the middle of a transaction.
///
/// There is no border while a streamed transaction is open: parts of it were written, and a start
/// after them would send it again from its beginning. A transaction that was prepared before the
/// start may be streamed once more, and its prepare is left out (ReorderBufferSkipPrepare in
/// reorderbuffer.c): that lasts until the prepared transaction is committed or rolled back. This is
/// necessary: nothing in the stream distinguishes it from one that was prepared before the slot's
/// two_phase_at, which is sent whole when it is committed (ReorderBufferFinishPrepared).
class Borders {
 public:
  /// Throws Error{usage} for options with which borders cannot be recognized.
  Borders(std::string_view plugin, const pq::PluginOptions& options);

  /// The border directly after the message, if there is one.
  [[nodiscard]] std::optional<wal::Lsn> after_message(wal::Lsn start, std::string_view message);
  /// The border at the position of the keepalive, if there is one.
  [[nodiscard]] std::optional<wal::Lsn> at_keepalive(const wire::Keepalive& keepalive);
  /// A new stream starts, at a border.
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
