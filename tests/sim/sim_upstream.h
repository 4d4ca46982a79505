#pragma once

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "lineage.h"
#include "pq/commands.h"
#include "pq/replication_stream.h"
#include "pq/slot_view.h"
#include "random.h"
#include "story.h"
#include "wire/copy_messages.h"

namespace weir::sim {

/// A server of the cluster.
struct Node {
  bool up = true;
  bool standby = false;
  wal::TimelineId timeline = 1;
  wal::Lsn flush;
  wal::Lsn oldest;               ///< segments before this one are removed
  std::optional<wal::Lsn> slot;  ///< restart_lsn of our slot
  enum class SlotTrouble { none, invalidated, dropped };
  SlotTrouble slot_trouble = SlotTrouble::none;
  bool slot_kept = false;     ///< it was moved by the slot keeper last
  bool foreign = false;       ///< of another cluster, or
  bool other_branch = false;  ///< of this one, with a history of its own, or
  bool sibling = false;       ///< promoted separately; nobody has a reason to follow it
  std::uint64_t starts = 1;   ///< counts restarts: a connection to an older one is broken
  /// It shuts down since then: it lets nobody in, and waits for the walsender it has.
  std::optional<receive::Time> leaving = std::nullopt;
};

/// What a walsender can have written to its socket and the client not taken: where it has more to
/// send it blocks, and sees nothing else.
inline constexpr std::uint64_t kSocketBytes = 24 * 1024;

/// Some servers of one cluster, how they live and fail, and the walsender that one of them has for
/// us. It says what real servers say (walsender.c): the switchpoint and next timeline at the end of
/// a timeline, at once if streaming would start exactly there; 58P01 for WAL that was removed;
/// errors without a class of their own for a start that is ahead or not in the history.
class SimUpstream {
 public:
  struct Options {
    bool two_nodes = false;
    bool slot = false;
    bool removes_wal = false;  ///< as soon as the slot allows; without a slot at any time
    bool begins_as_standby = false;
    bool foreign_host = false;  ///< the connection string names a server of another cluster, too
    bool other_branch =
        false;  ///< … or one that was set back, or is the other one of a split brain
    /// … or one that was promoted beside another (Lineage::Sibling). It answers where it is asked
    /// while one of the true ones is on the newest timeline, and must never be taken then.
    bool sibling = false;
    bool damages = false;       ///< WAL is damaged now and then, on the way or where it is read
    bool sends_away = false;    ///< walsenders are told to go, servers shut down, now and then
    bool slot_trouble = false;  ///< the slot is invalidated or dropped now and then
  };
  SimUpstream(const Lineage& lineage, Options options, Random& random, Story& story);

  // --- The world ---------------------------------------------------------------------------------

  /// Lets something happen. `calm`: only what leads to the end.
  void tick(bool calm);
  /// Every server is what it should be: no old primary on an old timeline.
  void repair();
  /// One that still writes on a timeline which the others have left.
  [[nodiscard]] bool has_old_primary() const;
  /// Somebody has WAL up to `end`: then a primary has, too.
  void has_written(wal::Lsn end);
  [[nodiscard]] bool at_the_end() const;
  /// The host of another cluster, or branch, answers from now on, or no longer.
  void show_foreign(bool up, bool without_tail = false);
  [[nodiscard]] bool foreign_is_up() const;
  [[nodiscard]] bool slot_is_in_trouble() const;
  /// A person makes the slots anew.
  void repair_slots();
  /// A person has found the reason.
  void repair_damage() { damage_.reset(); }
  [[nodiscard]] const Lineage& lineage() const { return lineage_; }
  [[nodiscard]] const std::vector<Node>& nodes() const { return nodes_; }
  [[nodiscard]] const Options& options() const { return options_; }
  /// Servers that a client of the connection string can reach.
  [[nodiscard]] const Node& connected() const { return nodes_[connected_]; }

  // --- A client ----------------------------------------------------------------------------------

  /// Throws Error if no server answers. Returns its index.
  int connect(int first_host);
  void disconnect();
  [[nodiscard]] pq::SystemIdentity identify();
  [[nodiscard]] pq::SlotState read_slot();
  /// False if it is there already.
  bool create_slot();
  void drop_slot();
  /// Over another connection.
  [[nodiscard]] pq::SlotView read_slot_view() const;
  [[nodiscard]] std::string history(wal::TimelineId timeline);

  // --- Questions to any of them, over a connection of its own ------------------------------------

  [[nodiscard]] std::size_t node_of(std::size_t host) const {
    return (host + shift_) % nodes_.size();
  }
  /// The host's node, for what follows. Throws Error if it does not answer.
  [[nodiscard]] std::size_t visit(std::size_t host) const;
  [[nodiscard]] pq::SystemIdentity identify(std::size_t node) const;
  [[nodiscard]] pq::SlotState read_slot(std::size_t node) const;
  [[nodiscard]] std::string history(std::size_t node, wal::TimelineId timeline) const;
  /// The first message of a stream that begins there. Throws what the server says.
  [[nodiscard]] pq::StreamEvent peek(std::size_t node, wal::Lsn lsn,
                                     wal::TimelineId timeline) const;
  /// From now on that connection is the one of the client.
  void adopt(std::size_t node, std::uint64_t starts);

  // --- The slot keeper, over a short connection of its own ---------------------------------------

  void on_visit() { ++visits_; }
  bool create_slot(std::size_t node);
  /// As Server::use_slot(). What breaks a promise is a Violation.
  bool use_slot(std::size_t node, wal::Lsn position, wal::TimelineId timeline,
                std::optional<wal::Lsn> flush);
  /// A stream begins: what lies before is durable.
  void on_archived(wal::TimelineId timeline, wal::Lsn start) {
    if (archived_timeline_ != timeline) archived_since_ = visits_;
    archived_timeline_ = timeline;
    durable_ = std::max(durable_, start);
  }
  void on_durable(wal::Lsn end) { durable_ = std::max(durable_, end); }
  [[nodiscard]] std::uint64_t slots_moved() const { return slots_moved_; }

  /// START_REPLICATION, with the slot or without. `question`: for a look at what it has there.
  void start(wal::Lsn lsn, wal::TimelineId timeline, bool with_slot, bool question);
  /// CopyDone: the connection takes commands again.
  void end_stream() { sender_.reset(); }
  /// The next message; throws Error: the server's with its SQLSTATE, without one if the
  /// connection broke.
  [[nodiscard]] pq::StreamEvent next();
  /// Something lies on the socket, or the connection is lost.
  [[nodiscard]] bool readable();
  /// True for WAL of an event that is valid only until the next one, because it is damaged.
  [[nodiscard]] bool is_damaged(std::span<const std::byte> wal) const {
    return !wal.empty() && wal.data() == damaged_wal_.data();
  }
  void status(const wire::StandbyStatus& status);
  /// What of the WAL that next() gave last was damaged.
  [[nodiscard]] const std::optional<Lineage::Spot>& damage_sent() const { return damage_sent_; }
  /// The first record of the stream that is another server's, if there is one: none of it, and
  /// nothing behind it, must be acknowledged.
  [[nodiscard]] const std::optional<Lineage::Spot>& other_wal() const { return other_wal_; }
  /// What a server would end the connection for, or not get its answer to in time (P8); empty:
  /// nothing.
  [[nodiscard]] std::string complaint() const;
  /// What it waits for because of the client (P13); empty: nothing. To be asked once in each turn
  /// of the client.
  [[nodiscard]] std::string held_up();
  /// The server that streams shuts down, and waits for the receiver.
  [[nodiscard]] bool shuts_down() const {
    return sender_ && connection_ != 0 && nodes_[connected_].leaving.has_value();
  }
  /// The server that streams begins to shut down, if it has sent what is not confirmed yet; else
  /// false.
  bool shut_down_unconfirmed();
  /// The slot of the stream may have been behind this place when that began: then the server is
  /// told of no flush position there. (Before 15 nobody can ask a server where it is.)
  [[nodiscard]] bool slot_was_behind(wal::Lsn place) const {
    return sender_ && sender_->with_slot &&
           (lineage_.server_major() < 15 || sender_->slot_begun > place);
  }
  [[nodiscard]] std::uint64_t told_to_go() const { return told_to_go_; }

 private:
  void check_ancestry(std::size_t node, wal::Lsn end) const;
  [[nodiscard]] wal::Lsn switchpoint_of(const Node& node, wal::TimelineId timeline) const;
  void check_place(const Node& node, wal::Lsn lsn, wal::TimelineId timeline) const;
  void check_connection();
  [[nodiscard]] bool lost_connection() const;
  [[nodiscard]] pq::StreamEvent answer(wal::Lsn valid_up_to);
  [[nodiscard]] std::span<const std::byte> wal_of(const Node& node, wal::TimelineId timeline,
                                                  wal::Lsn from, wal::Lsn to) const;
  void find_other_wal(wal::Lsn start, wal::TimelineId timeline);
  void promote(Node& node);
  void tell_walsender_to_go();
  void go_down(Node& node);
  [[nodiscard]] wal::Lsn sends_up_to() const;
  [[nodiscard]] bool all_is_confirmed() const;
  void remove_wal(Node& node);
  [[nodiscard]] Node& primary();
  [[nodiscard]] Error lost() const;

  const Lineage& lineage_;
  Options options_;
  Random& random_;
  Story& story_;
  std::vector<Node> nodes_;
  std::size_t shift_ = 0;  ///< of a node's place in the connection string
  bool calm_ = false;

  std::size_t connected_ = 0;
  std::uint64_t connection_ = 0;  ///< starts of the node when we connected; 0: not connected
  struct Sender {
    wal::TimelineId timeline;
    wal::Lsn begin;
    wal::Lsn sent;
    bool with_slot = false;
    wal::Lsn slot_begun;  ///< where the slot was then
    bool question = false;
    receive::Time heard;                                ///< the last status, or the begin
    std::optional<receive::Time> asked = std::nullopt;  ///< for a reply that has not come
    bool answer_due = false;                            ///< we were asked for one
    /// It was told to go: since when, up to where it has sent all the same, and whether it could
    /// not see it, since it was blocked.
    std::optional<receive::Time> told = std::nullopt;
    wal::Lsn last;
    bool blocked = false;
    bool heard_again = true;       ///< since it asked for the last reply before a shutdown
    wal::Lsn confirmed;            ///< flush
    receive::Time moved{};         ///< something was taken from it, or confirmed
    std::uint64_t turns_late = 0;  ///< of the client, since it is held up for too long
  };
  std::optional<Sender> sender_;
  bool keepalive_ = false;  ///< one lies on the socket

  std::uint64_t told_to_go_ = 0;
  std::uint64_t slots_moved_ = 0;
  std::uint64_t visits_ = 0;
  // What the archive has.
  wal::TimelineId archived_timeline_ = 0;
  std::uint64_t archived_since_ = 0;  ///< that visit
  wal::Lsn durable_;

  std::optional<Lineage::Spot> damage_;
  wal::TimelineId damage_timeline_ = 0;
  bool damage_lasts_ = false;
  std::optional<Lineage::Spot> damage_sent_;
  std::vector<std::byte> damaged_wal_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> compared_wrong_;  ///< bits, by byte

  bool same_layout_ = false;   ///< of the other branch, as it is at the moment
  bool tail_removed_ = false;  ///< it has lost what lies before the place that it is asked for
  bool was_read_ = false;      ///< something of it, on this connection
  std::optional<Lineage::Spot> other_wal_;
};

}  // namespace weir::sim
