#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ledger.h"
#include "lineage.h"
#include "random.h"
#include "relay/xmins.h"
#include "story.h"
#include "wire/copy_messages.h"

namespace weir::sim {

/// Somebody on another machine who streams from the relay, as a walreceiver does: he outlives the
/// relay's processes. He speaks the protocol as bytes, and holds what he gets against the truth.
/// What he finds is thrown as a Violation (P10, P11, P12).
class SimStandby {
 public:
  SimStandby(std::string name, bool slot, std::uint64_t first_xmin, const Lineage& lineage,
             Ledger& ledger, Random& random, Story& story)
      : name_(std::move(name)),
        has_slot_(slot),
        first_xmin_(first_xmin),
        lineage_(lineage),
        ledger_(ledger),
        random_(random),
        story_(story) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool connected() const { return connected_; }

  // ---- one connection ----

  void connect();
  void disconnect() { connected_ = false; }
  /// So much of what the relay sends is taken; 0: he does not read now.
  [[nodiscard]] std::size_t take(std::string_view bytes);
  [[nodiscard]] bool reads() const { return story_.now >= reads_again_; }
  /// What he says, up to `most` bytes of it.
  [[nodiscard]] std::string say(std::size_t most);
  [[nodiscard]] bool has_something_to_say() const { return !says_.empty(); }
  /// Time passes: reports, feedback, a connection that breaks, a time in which he does not read.
  void tick(bool quiet);

  /// P12: from here on his slot holds WAL, by what the relay has said of it and what he has said
  /// since (which the relay may not have heard). nullopt: he counts on no slot.
  [[nodiscard]] std::optional<wal::Lsn> holds_from() const {
    if (!slot_made_) return std::nullopt;
    return std::max(reserved_from_, flushed_);
  }
  /// What he asked his slot to keep upstream.
  [[nodiscard]] std::uint64_t xmin() const { return said_xmin_; }
  /// P12: the server upstream may be told that this is the oldest that is needed; 0: nothing is.
  /// Once it has heard one of his xmins, nothing younger than what he says.
  [[nodiscard]] bool may_tell(std::uint64_t told);
  [[nodiscard]] std::uint64_t received() const { return received_; }
  [[nodiscard]] std::uint64_t switches() const { return switches_; }

 private:
  enum class Doing { greeting, identify, history, read_slot, make_slot, start, stream, ending };

  void hear(char type, std::string_view body);
  void hear_row(std::string_view body);
  void hear_error(std::string_view body);
  void hear_stream(std::string_view body);
  void next_command();
  void ask(const std::string& command, Doing doing);
  void ask_to_start();
  void report(bool reply_requested);
  void begin_anew();
  [[nodiscard]] bool may_be_missing(wal::Lsn from) const;

  const std::string name_;
  const bool has_slot_;
  const std::uint64_t first_xmin_;  ///< it, and the thousand behind it, are nobody else's
  const Lineage& lineage_;
  Ledger& ledger_;
  Random& random_;
  Story& story_;

  // What he has.
  wal::TimelineId timeline_ = 0;
  wal::Lsn position_;   ///< up to here he has everything; 0/0: nothing yet
  wal::Lsn sent_;       ///< so far the relay has sent him WAL of timeline_
  wal::Lsn sent_from_;  ///< the first of that
  wal::Lsn flushed_;    ///< what he said last
  bool slot_made_ = false;
  wal::Lsn reserved_from_;  ///< by the slot, when he was told of it
  std::uint64_t next_xmin_ = first_xmin_;
  std::uint64_t said_xmin_ = 0;
  bool xmin_told_ = false;  ///< upstream has heard one of his
  std::uint64_t received_ = 0;
  std::uint64_t switches_ = 0;

  // The relay, as he knows it.
  wal::TimelineId announced_timeline_ = 0;
  wal::Lsn announced_end_;

  // The connection.
  bool connected_ = false;
  Doing doing_ = Doing::greeting;
  std::string heard_;  ///< not worked off yet
  std::string says_;
  wal::TimelineId next_history_ = 0;
  wal::Lsn at_;               ///< in the stream
  wal::Lsn reported_before_;  ///< the stream was asked for
  std::optional<std::pair<wal::TimelineId, wal::Lsn>> next_timeline_;
  bool row_seen_ = false;
  bool failed_ = false;
  receive::Time reads_again_{};
  wal::Lsn connection_end_;  ///< announced in this connection, on announced_timeline_
};

}  // namespace weir::sim
