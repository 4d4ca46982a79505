#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "store/layout.h"
#include "store/ledger/manifest_line.h"
#include "store/ledger/mark.h"
#include "store/ledger/signify.h"
#include "store/object_store.h"
#include "store/send/follow_report.h"
#include "store/send/sender.h"
#include "store/send/upload_start.h"
#include "wal/segment.h"

namespace weir::store {

/// How much uploaded WAL also stays in the archive (--local-retention): a size, or an age of the
/// files.
struct KeepLocal {
  std::optional<std::uint64_t> bytes{};
  std::optional<std::chrono::milliseconds> age{};
};

/// The complete segments of one position, on all timelines: they are removed together.
struct LocalSegments {
  std::uint64_t segno = 0;
  std::vector<wal::SegmentName> segments{};
  std::uint64_t bytes = 0;                          ///< in all their forms
  std::chrono::system_clock::time_point written{};  ///< the last of them
  /// The newest timeline has no complete segment yet, and begins after these: they are compared
  /// with the server's WAL on the next connection.
  bool before_newest_timeline = false;
};
/// All of an archive, in order. Throws Error{io}.
[[nodiscard]] std::vector<LocalSegments> local_segments(io::Shelf& archive, wal::SegmentSize size);

/// Segments to remove, oldest first: up to the first one that was not sent, that a slot of the
/// relay retains, or after which streaming resumes. Pure.
struct MayGo {
  std::vector<LocalSegments> numbers{};
  std::string kept_for{};  ///< why no more is removed; empty: that is all
};
[[nodiscard]] MayGo may_go(std::vector<LocalSegments> all, const KeepLocal& keep, const Mark& mark,
                           std::optional<wal::Lsn> held_from,
                           std::chrono::system_clock::time_point now);

/// Why the relay's slots, which retain WAL from there on, need a segment; empty: they do not. Pure.
[[nodiscard]] std::string kept_for_slot(std::uint64_t segno, std::optional<wal::Lsn> held_from,
                                        wal::SegmentSize size);

/// Start of the WAL that the relay's slots retain; nullopt: they retain none. Throws Error{damage}
/// if it cannot be determined, Error{io}.
[[nodiscard]] std::optional<wal::Lsn> held_by_slots(io::Shelf& archive);

/// Removes the segments of one position in all their forms, partial ones first, durably. Only after
/// `may_leave` has confirmed for each of them that the store has it now, or that a prune has
/// removed it there (P17). Returns false otherwise. A raw partial file stays if `is_received`: the
/// receiver may be writing into it, and must find it. Throws Error{io, durability}, and what
/// `may_leave` throws.
[[nodiscard]] bool remove_local(io::Directory& archive, const LocalSegments& number,
                                const std::function<bool(wal::SegmentName)>& may_leave,
                                const std::function<bool(wal::SegmentName)>& is_received);

/// Removes from an archive what the store is known to have (--local-retention). Before a segment is
/// removed, its file is read again, and its digest compared with the object's: that costs as much
/// reading as writing it did, but does not depend on a mark. A segment that a recorded prune has
/// removed from the store is removed here, too, and not sent again. Problems here never stop
/// uploads. Does not own its arguments. One thread.
class LocalRemoval {
 public:
  using Time = Threads::Time;
  struct Options {
    KeepLocal keep{};
    std::chrono::milliseconds every{2'000};
    /// The record of a prune counts if one of them proves it; empty: every record counts.
    std::vector<SignifyPublic> keys{};
    /// The line of an object that was sent again.
    std::function<void(ManifestEntry)> sent_again = nullptr;
    /// Called before the store is asked for segments; throws if it is not this cluster's any more.
    std::function<void()> require_place = nullptr;
    std::function<bool()> stopping = nullptr;
    archive::AskDurableEnd durable_end = nullptr;
  };
  LocalRemoval(io::Directory& archive, ObjectStore& store, const Layout& layout, Options options,
               Threads& threads, FollowReport& report, Log& log);

  /// Removes for a limited time, before other work continues. `written`: the mark as it is on disk:
  /// removed files have a manifest line, and are not sent again by any process. Returns when to
  /// call it again. Throws Error{durability}.
  [[nodiscard]] Time look(const SendTools& tools, const Mark& written);
  /// The earliest time for that, if more may be removed.
  [[nodiscard]] Time not_before() const { return not_before_; }

 private:
  [[nodiscard]] bool remove_stored(const SendTools& tools, const Mark& written);
  [[nodiscard]] bool surely_stored(const SendTools& tools, wal::SegmentName segment,
                                   const FormsThere& there, std::string& stays);
  [[nodiscard]] bool is_received(wal::SegmentName segment, wal::SegmentSize size) const;

  io::Directory& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const Options options_;
  Threads& threads_;
  FollowReport& report_;
  Log& log_;
  Time next_{};
  Time not_before_{};
  std::chrono::nanoseconds looking_took_{};
};

}  // namespace weir::store
