#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "archive/kept_slots.h"
#include "relay/xmins.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// The number of a session, as in BackendKeyData.
using SessionId = std::uint32_t;

/// A slot as seen by other sessions.
struct Slot {
  archive::KeptSlot kept;
  bool temporary = false;             ///< dropped with its session, or at the session's first error
  std::optional<SessionId> active{};  ///< its user; of a temporary one, its creator
};

/// Returns a server's error for an invalid slot name; nullopt if the name is valid
/// (ReplicationSlotValidateName() in replication/slot.c).
[[nodiscard]] std::optional<wire::ErrorReport> wrong_slot_name(const std::string& name);

/// The relay's physical replication slots, as in replication/slot.c: who may create, use and drop
/// them, what they retain, and which of it is in the file. Pure.
///
/// What a slot retains must be durable before anything relies on it. A change by which a slot
/// retains more (it is new, it goes back, it holds a transaction for the first time) must therefore
/// be saved at once; a change that releases WAL may wait, since the file then retains more than
/// needed.
class SlotsState {
 public:
  /// The equivalent of a server's max_replication_slots; here it only limits the file's size.
  static constexpr std::size_t kMost = 500;

  SlotsState() = default;
  /// As read from the file: none is in use. There may be names that create() rejects, and
  /// duplicates: earlier versions accepted any name, and wrote it as UTF-8.
  explicit SlotsState(std::vector<archive::KeptSlot> kept);

  // ---- commands; an ErrorReport is the answer to the client, with a walsender's words ----

  using Refusal = std::optional<wire::ErrorReport>;
  /// Creates a slot, which the session uses until release(). A permanent one counts once it is
  /// saved; if that fails it must be removed again.
  [[nodiscard]] Refusal create(SessionId session, const std::string& name, bool temporary,
                               wal::Lsn restart_lsn, const std::string& now);
  enum class Invalid { allowed, refused };
  struct Busy {
    wire::ErrorReport report;  ///< for a client that does not wait
  };
  using Acquired = std::variant<std::monostate, Busy, wire::ErrorReport>;
  /// The session uses the slot from now on.
  [[nodiscard]] Acquired acquire(SessionId session, const std::string& name, Invalid invalid);
  /// It no longer exists, regardless of its user.
  void remove(const std::string& name);
  /// The session releases its slot. Temporary ones still belong to it.
  void release(SessionId session, const std::string& now);
  /// The session has met an error, or ends: its temporary slots go, too.
  void clean_up(SessionId session, const std::string& now);
  [[nodiscard]] const Slot* find(const std::string& name) const;
  [[nodiscard]] std::vector<Slot> all() const;  ///< by name

  // ---- replies of clients about the slots they use ----

  /// The client's flush position. It may go back; 0/0 is ignored.
  void on_flush(SessionId session, wal::Lsn flush);
  /// Sets the client's hot_standby_feedback, 0 if it requests nothing. As in a server, a slot's
  /// xmins only go forward, unless they were or become unset (PhysicalReplicationSlotNewXmin() in
  /// walsender.c). Returns false if the session uses no slot, so that its request applies only
  /// while it is connected.
  bool on_feedback(SessionId session, Xmins asked);

  // ---- Values that the slots retain ----

  /// The oldest xmins that all slots together require the upstream to keep, including slots in use,
  /// because a client that has reconnected may not have sent anything yet. Each counts with the
  /// value that a restart would find in the file, if that is later: values reported upstream are
  /// never revoked by a restart. A client that uses a slot does not count in addition.
  [[nodiscard]] Xmins held() const;

  struct Lost {
    std::string name;
    wal::Lsn restart_lsn;
    std::optional<SessionId> active;
  };
  /// Slots that retain more than `keep` bytes of whole segments become lost, as with
  /// max_slot_wal_keep_size (KeepLogSeg() in xlog.c). Returns those that were not lost before.
  std::vector<Lost> enforce(wal::Lsn end, wal::SegmentSize size, std::uint64_t keep);
  /// True if the slot that the session uses was lost or dropped meanwhile.
  [[nodiscard]] bool evicted(SessionId session) const;

  // ---- the file ----

  enum class Due { nothing, some_time, at_once };
  [[nodiscard]] Due due() const;
  /// The content for the file: all permanent slots, except for one that is about to be dropped.
  [[nodiscard]] std::vector<archive::KeptSlot> to_save(
      const std::optional<std::string>& without = std::nullopt) const;
  /// The file has these, durably.
  void on_saved(const std::vector<archive::KeptSlot>& kept);

 private:
  Slot* used_by(SessionId session);
  [[nodiscard]] const archive::KeptSlot* saved(const std::string& name) const;

  std::map<std::string, Slot> slots_;
  std::map<std::string, archive::KeptSlot> saved_;
  std::map<SessionId, std::string> used_;  ///< which each session uses
};

}  // namespace weir::relay
