#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/resume.h"
#include "lineage.h"
#include "story.h"
#include "support/sim_disk.h"
#include "wire/copy_messages.h"

namespace weir::sim {

/// Keeps account of what the receiver promised, over crashes and restarts, and holds the archive
/// against it. What it finds is thrown as a Violation, named by the promise of DESIGN.
class Ledger {
 public:
  using Hole = archive::ResumePoint::Hole;

  Ledger(const Lineage& lineage, Story& story, const SimDisk& disk)
      : lineage_(lineage), story_(story), disk_(disk) {}

  /// A process begins. `confirms_stored`: it reports as flushed what is in the store, and what is
  /// durable by an event only (--confirm stored).
  void on_process(bool confirms_stored);
  /// The process has ended. While its threads are unwound, they may still publish a sync that
  /// completed before the end, but no server, store or client receives that: it is no report. In
  /// seed 321181 such an event came after a power loss, when the operator had already
  /// removed a copied segment of which nothing had been reported (forget_copy()).
  void on_process_over() { process_over_ = true; }
  /// START_REPLICATION succeeded.
  void on_stream(wal::TimelineId timeline, wal::Lsn start);
  /// Somebody has copied that segment of timeline 1 into the archive.
  void on_copied(std::optional<wal::Lsn> segment) { copied_ = segment; }
  void on_received(wal::Lsn end) { received_ = end; }
  void on_status(wire::StandbyStatus status);
  /// With `confirms_stored`: so much of the stream is durable. That counts as if it were reported:
  /// the store and the clients downstream go by it.
  void on_durable(wal::TimelineId timeline, wal::Lsn end);
  /// A sync or close of that file was made to fail: this process may not report any more (P6), but
  /// for what is on its way at this moment and durable when it is reported. (A finished segment's
  /// form that is gone since, as the raw one is once it is compressed, is of no interest to
  /// anybody.) The file is closed before the failure is told, which takes as long as the disk
  /// hangs; what is durable may be reported until then (seed 642001 of eb9f749).
  void on_failed_sync(const std::string& name, receive::Time disk_hangs_until);
  /// In this process.
  [[nodiscard]] bool has_failed_sync() const { return sync_failed_.has_value(); }
  /// P10: the relay has sent these bytes of that timeline, or has said that what lies before `end`
  /// is durable.
  void on_sent(wal::TimelineId timeline, wal::Lsn begin, wal::Lsn end);
  void on_announced(wal::TimelineId timeline, wal::Lsn end);
  /// The receiver tells those it serves that so much is durable. (What was found at the start, and
  /// was never reported, a receiver may take away and receive again.)
  void on_told_durable(wal::TimelineId timeline, wal::Lsn end) {
    told_durable_[timeline] = std::max(told_durable_[timeline], end);
  }
  /// What was not told durable yet the receiver of this process may take away, and receive again.
  [[nodiscard]] bool may_come_again(wal::TimelineId timeline, wal::Lsn end) const {
    const auto told = told_durable_.find(timeline);
    return end > (told == told_durable_.end() ? wal::Lsn() : told->second);
  }
  /// P10: the archive was found, or said by a receiver, to have the WAL of that timeline up to
  /// `end`, and to be durable; then the power has failed.
  void check_found(const SimDisk& disk, wal::TimelineId timeline, wal::Lsn end);
  /// A process that serves starts: it may read the content of unfinished files at this moment.
  void on_serving();
  /// The relay begins to look at what is durable, and has done so: that takes as long as the disk
  /// takes, and clients are told by the last look that ended.
  void on_look() { looks_at_ = all_reported_bytes(); }
  void on_looked() { looked_at_ = looks_at_; }
  /// P11: what was reported of that timeline before the last look that ended.
  [[nodiscard]] wal::Lsn looked_at(wal::TimelineId timeline) const {
    const auto found = looked_at_.find(timeline);
    return found == looked_at_.end() ? wal::Lsn() : found->second;
  }
  /// P11: Lineage::first_wrong(), but for what was not reported of a record that begins before the
  /// archive does: it may be torn, no checksum says so, and nobody can use it without its front.
  /// What was read of it then stays in memory, for others who come to that place (seed 299642), or
  /// is sent to a client when the receiver has already written and reported the right bytes (seed
  /// 365896 of e94f7ac).
  [[nodiscard]] std::optional<wal::Lsn> first_wrong(wal::TimelineId timeline, wal::Lsn at,
                                                    std::span<const std::byte> wal);
  /// The same of an archive that begins there.
  [[nodiscard]] std::optional<wal::Lsn> first_wrong(wal::TimelineId timeline, wal::Lsn at,
                                                    std::span<const std::byte> wal,
                                                    wal::Lsn archive_begin) const;
  /// The archive has the history of the next timeline, and so the switchpoint of this one.
  [[nodiscard]] bool has_left(wal::TimelineId timeline) const {
    return disk_.exists(wal::history_name(timeline + 1));
  }
  [[nodiscard]] bool served_anything() const { return !served_.empty(); }
  /// The operator was told of a hole.
  void on_hole(const Hole& hole) {
    if (std::find(told_holes_.begin(), told_holes_.end(), hole) == told_holes_.end())
      told_holes_.push_back(hole);
  }
  /// It is about to be recorded, since the stream goes on behind it.
  void on_hole_accepted(const Hole& hole) { accepted_ = hole; }
  /// Streaming begins, and this is what the receiver says is lost: P14. What it does not know of
  /// would have to be found by somebody who needs it.
  void on_losses_told(const std::vector<archive::Loss>& losses, const SimDisk& disk) const;
  /// After a power loss: what a start will read.
  void check_losses(const archive::Listing& listing,
                    const std::vector<archive::Loss>& losses) const;
  /// WAL with that damage was sent.
  void on_damage(const Lineage::Spot& spot) {
    if (!damage_ || spot.begin < damage_->begin) damage_ = spot;
    damages_.push_back(spot);
  }
  /// The stream that has just begun is another branch's, from the record at `spot` on.
  void on_other_wal(const Lineage::Spot& spot) { other_wal_ = spot; }
  [[nodiscard]] bool damage_was_sent() const { return !damages_.empty(); }
  /// WAL with damage in that range was sent. In an unfinished segment it may have taken the place
  /// of what was sound, until that has come once more (holds_wal()).
  [[nodiscard]] bool damage_in(wal::Lsn begin, wal::Lsn end) const {
    return std::any_of(damages_.begin(), damages_.end(), [&](const Lineage::Spot& spot) {
      return begin <= spot.byte && spot.byte < end;
    });
  }
  /// A finished segment holds the damaged front of a record of which the rest was not acknowledged.
  [[nodiscard]] bool holds_damage() const { return holds_damage_; }
  /// A person puts sound copies in the place of finished segments that are not.
  void repair(SimDisk& disk);
  /// What lies before is given up.
  void on_prune(wal::Lsn floor) {
    floor_ = std::max(floor_, floor);
    local_floor_ = std::max(local_floor_, floor);
  }
  /// What is finished before is in the store, and may be gone here.
  void on_left_to_store(wal::Lsn floor) {
    stored_floor_ = std::max(stored_floor_, floor);
    local_floor_ = std::max(local_floor_, floor);
  }

  /// P1, P2, P3 and the order of histories and segments, after a power loss. `everything`: also the
  /// files that were right once.
  void check(const SimDisk& disk, bool everything);
  [[nodiscard]] wal::Lsn reported(wal::TimelineId timeline) const;
  /// Without the reports that spoke of no byte: that of a stream's start, where nothing came of it.
  [[nodiscard]] wal::Lsn reported_bytes(wal::TimelineId timeline) const;
  /// That position itself, and not only one behind a hole that was accepted.
  [[nodiscard]] bool was_reported(wal::TimelineId timeline, wal::Lsn end) const;
  /// What is finished before is in the store, and may be gone here.
  [[nodiscard]] wal::Lsn left_to_store_before() const { return stored_floor_; }
  /// What a receiver that is asked says: nothing before the first status of a connection.
  [[nodiscard]] std::optional<archive::DurableEnd> durable() const {
    if (!last_) return std::nullopt;
    return archive::DurableEnd{timeline_, confirms_stored_ ? durable_ : last_->flush};
  }
  /// The server that streams was told so much, on this timeline.
  [[nodiscard]] std::optional<archive::DurableEnd> confirmed() const {
    if (!last_) return std::nullopt;
    return archive::DurableEnd{timeline_, last_->flush};
  }
  /// With `confirms_stored`: of the stream, told or not.
  [[nodiscard]] wal::Lsn durable_of_stream() const { return durable_; }
  /// What the receiver itself calls durable of the stream, told to a server or not.
  [[nodiscard]] wal::Lsn synced_of_stream() const { return synced_; }
  [[nodiscard]] bool confirms_stored() const { return confirms_stored_; }
  [[nodiscard]] wal::TimelineId timeline() const { return timeline_; }
  [[nodiscard]] bool promised_anything() const { return !!first_timeline(); }
  /// A server was told that all before some position is durable when an archive began there, which
  /// a crash has left empty; then it began anew, at an earlier position of another server, and has
  /// not come to the first one since. The first server's slot keeps nothing before that.
  [[nodiscard]] bool slot_may_be_ahead() const;

  /// What a recovery has to find: from a segment's start behind the last hole up to what was last
  /// reported on the newest timeline.
  struct Way {
    wal::TimelineId first = 0;
    wal::Lsn begin;
    wal::TimelineId last = 0;
    wal::Lsn end;
  };
  [[nodiscard]] std::optional<Way> way() const { return way_from(local_floor_); }
  /// The same of the archive and the store together.
  [[nodiscard]] std::optional<Way> way_with_store() const { return way_from(floor_); }
  [[nodiscard]] const std::vector<Hole>& told_holes() const { return told_holes_; }
  /// The operator was told that this is lost.
  [[nodiscard]] bool told(wal::Lsn begin, wal::Lsn end) const;
  /// The first WAL that was ever reported, of a timeline or one that it has come from.
  [[nodiscard]] std::optional<wal::Lsn> promised_from(wal::TimelineId timeline) const;
  /// What lies before a prune may have removed.
  [[nodiscard]] wal::Lsn given_up_before() const { return floor_; }

 private:
  struct Range {
    wal::Lsn begin;
    wal::Lsn end;
  };
  [[nodiscard]] std::optional<Way> way_from(wal::Lsn floor) const;
  [[nodiscard]] std::optional<wal::Lsn> first_file() const;
  void check_losses(const std::vector<archive::Loss>& losses,
                    const std::vector<archive::SegmentFileName>& files, const char* where) const;
  void promise(wal::Lsn flush);
  [[nodiscard]] std::map<wal::TimelineId, wal::Lsn> all_reported_bytes() const;
  [[nodiscard]] bool seems_newer(wal::Lsn flush) const;
  void check_names(const SimDisk& disk, bool everything);
  void check_reported(const SimDisk& disk);
  void check_served(const SimDisk& disk);
  [[nodiscard]] bool is_durable(wal::Lsn flush);
  bool anybody_has(const SimDisk& disk, wal::TimelineId timeline, wal::Lsn from, wal::Lsn to);
  static std::vector<Range> merged(std::vector<Range> ranges);
  void check_continuity(const SimDisk& disk);
  /// The file of that segment in the archive, finished or not.
  [[nodiscard]] std::optional<std::string> find(const SimDisk& disk, wal::TimelineId timeline,
                                                wal::Lsn segment) const;
  /// `name` has what the cluster wrote at [from, to); or damage that came in a record of which no
  /// position behind its end was acknowledged.
  bool holds_wal(const SimDisk& disk, const std::string& name, wal::TimelineId timeline,
                 wal::Lsn from, wal::Lsn to);
  [[nodiscard]] std::optional<wal::TimelineId> first_timeline() const;
  [[nodiscard]] wal::TimelineId last_timeline() const;
  [[nodiscard]] wal::Lsn first_promised(wal::TimelineId timeline) const;

  const Lineage& lineage_;
  Story& story_;
  const SimDisk& disk_;
  std::map<wal::TimelineId, std::vector<Range>> promised_;  ///< reported as flushed, by stream
  std::map<wal::TimelineId, std::vector<Range>> served_;    ///< sent or announced downstream
  std::map<wal::TimelineId, wal::Lsn> told_durable_;        ///< by this process
  std::map<wal::TimelineId, wal::Lsn> looks_at_;            ///< reported when the look began
  std::map<wal::TimelineId, wal::Lsn> looked_at_;           ///< the same of the last that ended
  /// Content of a record that begins before the archive, when the process started; by timeline.
  struct Rest {
    wal::Lsn begin;
    std::vector<std::byte> bytes;
  };
  std::map<wal::TimelineId, Rest> found_rests_;
  /// Before it lies the rest of a record that was torn when this process served it.
  std::map<wal::TimelineId, wal::Lsn> torn_before_;
  std::vector<Hole> told_holes_;
  std::optional<Hole> accepted_;
  std::vector<Hole> passed_holes_;  ///< those behind which WAL was streamed, and not since before
  std::optional<wal::Lsn> copied_;
  wal::Lsn most_told_;                    ///< to be flushed, to any server
  std::optional<wal::Lsn> begun_before_;  ///< most_told_, by an archive that was empty again
  wal::Lsn floor_;                        ///< before it things may be gone
  wal::Lsn stored_floor_;                 ///< before it what is finished may be in the store alone
  wal::Lsn local_floor_;                  ///< of the directory: the later of both
  std::set<std::string> checked_;         ///< finished files that were right once
  std::vector<Lineage::Spot> damages_;
  bool holds_damage_ = false;

  // Of the connection.
  wal::TimelineId timeline_ = 0;
  wal::Lsn stream_begin_;
  wal::Lsn received_;
  std::optional<wire::StandbyStatus> last_;
  wal::Lsn durable_;                        ///< if `confirms_stored_`
  wal::Lsn synced_;                         ///< what the receiver itself calls durable
  std::optional<Lineage::Spot> other_wal_;  ///< in this stream
  std::optional<Lineage::Spot> damage_;
  std::optional<receive::Time> sync_failed_;
  std::string failed_name_;
  bool confirms_stored_ = false;  ///< this process
  bool process_over_ = false;
};

/// The content [offset, offset + expected.size()) of a segment's file, in whatever form it is.
[[nodiscard]] bool holds(const SimDisk& disk, const std::string& name, std::uint64_t offset,
                         std::span<const std::byte> expected);

}  // namespace weir::sim
