#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/backup_point.h"
#include "archive/branch.h"
#include "archive/identity.h"
#include "archive/last_check.h"
#include "archive/last_word.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/published_open.h"
#include "archive/serving_view.h"
#include "archive/sizes.h"
#include "archive/timelines.h"
#include "archive/unfinished_break.h"
#include "archive/unvouched.h"
#include "io/directory.h"
#include "receive/receiver_view.h"
#include "status/beside.h"
#include "status/ends.h"
#include "status/store_side.h"
#include "status/upstream.h"
#include "wal/transaction_end.h"

namespace weir::status {

/// Numbers of segments, [begin, end).
struct SegnoRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  bool operator==(const SegnoRange&) const = default;
};

/// What `pgweir status` knows; the texts are made from it alone.
struct StatusReport {
  struct Form {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };
  struct Timeline {
    wal::TimelineId timeline = 0;
    bool history = false;          ///< its history file is there
    std::optional<wal::Lsn> from;  ///< of finished segments; unset if there are none
    std::optional<wal::Lsn> to;
    std::uint64_t segments = 0;  ///< different ones
    std::map<codec::Method, Form> forms;
    std::vector<archive::SegmentEntry> partials;
    Ends ends;
    // Unbroken rows of its own segments, ascending.
    std::vector<SegnoRange> finished;
    std::vector<SegnoRange> unfinished;  ///< only a .partial
    std::vector<SegnoRange> missing;     ///< a recovery would take them from this timeline
    /// Finished, and no longer in the directory: the object store alone has them. Where the store
    /// was asked, they are in `finished`, too.
    std::vector<SegnoRange> only_stored;
  };
  struct Hole {
    wal::TimelineId timeline = 0;  ///< a recovery to this one meets it
    wal::Lsn from;
    wal::Lsn to;
    std::uint64_t segments = 0;
    std::string id{};      ///< to acknowledge it by
    wal::Lsn sound_end{};  ///< of the unfinished segment at `from`; else `from`
    std::string cause{};
    std::optional<archive::Loss::Acknowledgement> acknowledged{};
    std::string found{};  ///< when it was recorded; empty: it is not
    bool operator==(const Hole&) const = default;
  };
  /// What a base backup can be recovered to, along one history.
  struct Window {
    wal::TimelineId timeline = 0;
    wal::Lsn from;  ///< backups whose WAL begins here or later
    std::optional<wal::PgTime> from_time;
    /// Where it begins with what only the object store has; unset: where it begins anyway.
    std::optional<wal::Lsn> stored_from{};
    wal::Lsn to;
    std::optional<wal::PgTime> to_time;  ///< of the last commit before it
    bool with_partial = false;           ///< its end is in an unfinished segment
    bool newest = true;                  ///< false: it ends at a hole, or at what comes next
    bool before_minimal_wal = false;     ///< it ends where wal_level was lowered to minimal
  };
  struct Backup {
    enum class Format { plain, tar };
    std::string name{};   ///< its path, or of a backup history file that file's name
    std::string label{};  ///< empty: not told
    wal::TimelineId timeline = 0;
    wal::Lsn start{};               ///< the first byte that its recovery reads; invalid: not known
    std::optional<wal::Lsn> end{};  ///< where it becomes consistent; nullopt: not told
    wal::TimelineId end_timeline = 0;      ///< on which that is; 0: as it began
    std::optional<wal::PgTime> began{};    ///< nullopt: not told
    std::optional<Format> format{};        ///< nullopt: its files are not here
    std::optional<std::uint64_t> bytes{};  ///< nullopt: not known without a look at each file
    /// Where the backup began that an incremental one builds upon; nullopt: it is a full one.
    std::optional<archive::BackupPoint::Parent> parent{};
    std::string base{};     ///< the name of that backup; empty: it is not here
    std::string problem{};  ///< why it does not count; empty: by its own files it does
  };

  std::string directory;
  std::optional<archive::Identity> identity;
  std::optional<wal::SegmentSize> segment_size;  ///< unset: unknown
  /// Its newest WAL is of a newer PostgreSQL than this program knows: the magic of its pages.
  std::optional<std::uint16_t> newer_magic;
  std::vector<Timeline> timelines;
  archive::Timelines histories;
  std::vector<archive::Coverage> coverage;
  std::vector<Hole> holes;                   ///< recorded ones, and what names tell; by position
  std::vector<archive::Loss> lost_branches;  ///< recorded ones, and what histories tell
  std::vector<archive::Loss> minimal_wal;    ///< recorded ones; their WAL is not read here
  std::vector<archive::Loss> recorded;       ///< all, also those before the archive's start
  /// Imported WAL that could be verified on one side only so far.
  std::vector<archive::Unvouched> unvouched;
  /// Partial segments that were uploaded to a store under their final names.
  std::vector<archive::PublishedOpen> published_open;
  /// Those of them whose segment here still has the zeros.
  std::vector<archive::PublishedOpen> padded{};
  std::vector<Window> windows;    ///< for each way in the order of coverage, the newest range first
  std::vector<Backup> backups{};  ///< by start; those of unknown start are last
  std::vector<std::string> backup_places{};    ///< where they were searched; empty: nowhere
  std::optional<std::string> backups_error{};  ///< a place could not be searched
  std::vector<std::string> foreign;
  std::vector<std::string> damaged;  ///< what could not be read, in words
  /// Where the unfinished WAL of the newest timeline breaks off; see shown_break().
  std::optional<archive::Break> breaks_off;
  std::uint64_t free_bytes = 0;
  std::uint64_t disk_bytes = 0;  ///< of the file system; 0: unknown
  /// Until the disk is full, at the rate of the last day; unset: unknown, or not filling up.
  std::optional<std::chrono::seconds> full_in{};
  /// The moment that ages count from; the epoch: nothing is judged by its age.
  std::chrono::system_clock::time_point taken{};
  /// Since when the next check of the directory has not returned; unset: it is not waited for.
  std::optional<std::chrono::system_clock::time_point> silent_since{};
  std::optional<archive::LastCheck> last_verify;  ///< unset: none is recorded
  std::optional<archive::LastCheck> last_drill;   ///< likewise

  std::optional<receive::ReceiverView> receiver;  ///< unset: none runs
  std::optional<std::string> receiver_error;      ///< it could not be asked
  bool receiver_silent = false;                   ///< it runs and did not answer
  bool receiver_mute = false;              ///< one seems to run; it has no socket to be asked by
  std::optional<archive::LastWord> ended;  ///< why the last one ended; not where one runs

  std::vector<archive::Relay> relays;      ///< each `pgweir serve` of the archive
  std::vector<std::string> relay_errors;   ///< of those that could not be queried
  std::vector<archive::ServedSlot> slots;  ///< stored with the archive
  std::optional<std::string>
      slots_error{};  ///< their process could not be queried, or their file not be read

  std::optional<Upstream> upstream;  ///< unset: not queried, or that failed
  /// How its WAL and the archive's lie to each other; unset for another cluster, or without WAL.
  std::optional<archive::Branch> branch;
  std::optional<std::string> upstream_error;
  std::string upstream_hint;  ///< what to do about it; may be empty

  std::optional<Beside> beside;    ///< unset: not asked for
  std::optional<StoreSide> store;  ///< likewise
};

/// Lists the directory and reads the ends of its timelines; queries no other process. The work is
/// bounded, regardless of the archive's size. Throws Error{io} if the directory cannot be opened or
/// listed; files that cannot be read are reported in `damaged`.
[[nodiscard]] StatusReport make_report(const std::string& path);
[[nodiscard]] StatusReport make_report(io::Directory& directory);
/// Fills in ended, last_verify and last_drill from the records in the directory, and taken with the
/// current time. Throws Error{io}.
void add_own_records(StatusReport& report, io::Shelf& directory);
/// For an archive that is not a single directory. Throws StoreError if a store fails.
[[nodiscard]] StatusReport make_report(io::Shelf& archive, std::uint64_t free_bytes);
/// For an archive whose segments cannot be read, because they are encrypted: uses their names, and
/// the given facts.
[[nodiscard]] StatusReport make_report(
    io::Shelf& archive, const archive::Identity& cluster,
    const std::vector<store::ManifestReport::Coverage>& coverage);

/// Finds where the partial WAL of the newest timeline breaks off, and ends the windows there. Does
/// nothing if a receiver is streaming, which writes that WAL again, or if it is unknown whether one
/// is streaming. Partial segments of more than 128 MB are not read. Files that cannot be read are
/// added to `damaged`.
void look_for_break(StatusReport& report, io::Shelf& directory);
/// Returns breaks_off, unless a receiver is streaming.
[[nodiscard]] std::optional<archive::Break> shown_break(const StatusReport& report);
/// Describes what it means, in a few sentences.
[[nodiscard]] std::string text_of(const archive::Break& broken);

/// Fills in timelines, coverage, holes, lost branches and foreign from the names, the recorded
/// losses, and the complete segments of the wrong size.
void describe_listing(StatusReport& report, const archive::Listing& listing,
                      const archive::Timelines& timelines,
                      const std::vector<archive::Loss>& losses = {},
                      const std::vector<archive::WrongSize>& wrong_sizes = {});
/// Adds a server's answers.
void add_upstream(StatusReport& report, Upstream upstream);
[[nodiscard]] archive::ServerPlace place_of(const Upstream& upstream);

/// Fills in windows, from coverage and the timelines' ends.
void describe_windows(StatusReport& report);

/// Returns the entry of that timeline; creates it if it does not exist.
[[nodiscard]] StatusReport::Timeline& timeline_of(StatusReport& report, wal::TimelineId timeline);

/// True if only an object store was read: it has no end, and does not show which receiver fills it.
[[nodiscard]] bool is_store_alone(const StatusReport& report);
/// Up to where the archive is durable, as well as it is known.
[[nodiscard]] std::optional<wal::Lsn> position_of(const StatusReport& report);
/// Up to where the archive is durable on each timeline that it has WAL of: by its files, and on the
/// timeline that a receiver streams by its flush position. Pure.
[[nodiscard]] archive::TimelineEnds known_ends(const StatusReport& report);
/// Bytes that it lags behind the server; the server's own answer is preferred to the receiver's
/// last message. nullopt: unknown.
[[nodiscard]] std::optional<std::uint64_t> lag_of(const StatusReport& report);
/// WAL in the compressed finished files over their size; nullopt without any.
[[nodiscard]] std::optional<double> compression_ratio(const StatusReport& report);

}  // namespace weir::status
