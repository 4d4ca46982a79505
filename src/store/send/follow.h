#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "store/layout.h"
#include "store/ledger/loss_records.h"
#include "store/object_store.h"
#include "store/send/follow_report.h"
#include "store/send/keep_local.h"
#include "store/send/ledger.h"
#include "store/send/open_segment.h"
#include "store/send/sender.h"
#include "store/send/store_audit.h"
#include "store/send/store_view.h"
#include "store/send/stored_end.h"

namespace weir::store {

struct FollowOptions {
  std::string store_name{};  ///< identifies store and place, as in the mark
  std::string shown_name{};  ///< likewise, for messages
  std::size_t jobs = 4;
  Sealing sealing{};
  std::optional<codec::Compression> compression{};   ///< of segments; nullopt: as the files
  std::shared_ptr<const SignifyKey> manifest_key{};  ///< nullptr: the manifest is not signed
  /// Interval between writes of the manifest, and of the mark, which may lag.
  std::chrono::milliseconds mark_every{2'000};
  /// Interval between listings of the archive; longer if a listing takes long.
  std::chrono::milliseconds look_every{1'000};
  /// A raw segment in a listing may be about to be compressed: it is sent if it is still raw in the
  /// next listing and `raw_will_change`, if set, returns false.
  bool raw_settles = true;
  std::function<bool()> raw_will_change = nullptr;
  /// Retry interval after a damaged file or a conflict, which an operator may have resolved.
  std::chrono::milliseconds resume_every{10'000};
  /// Interval between checks that the store still has everything that counts as sent.
  std::chrono::milliseconds audit_every{3'600'000};
  /// Interval between checks that the place still has this cluster's record, while something is to
  /// be stored or removed.
  std::chrono::milliseconds place_every{60'000};
  std::optional<KeepLocal> keep_local{};
  std::chrono::milliseconds keep_every{2'000};
  /// Interval between uploads of the flushed part of the current segment; unset: never.
  std::optional<std::chrono::milliseconds> open_every{};
  archive::AskDurableEnd durable_end = nullptr;
  std::function<bool()> stop = nullptr;  ///< polled, in addition to stop()
  Threads::Priority priority = Threads::Priority::normal;
  std::uint64_t seed = 0;

  // Called by any of the threads; must be quick. All are optional.
  std::function<void(const UploadItem&)> on_sent = nullptr;  ///< it counts as sent
  std::function<void(const Error&)> on_trouble = nullptr;    ///< an error; it continues
  std::function<void()> on_works = nullptr;                  ///< the error is over
  /// The position up to which the store has the WAL streamed since stream_begins(). Calls may be
  /// late, and repeated.
  std::function<void(const StoredEnd::Position&)> on_stored_end = nullptr;
  /// WAL not yet in the store is retained by the server's slot (--confirm stored).
  bool server_keeps = false;
  /// The mark could not be flushed: it is unknown what else of the archive was lost (P6). If it
  /// returns, or is not set, run() throws the error.
  std::function<void(const Error&)> durability_lost = nullptr;
};

/// Uploads an archive's complete files to a store as long as it runs: like push(), but each failure
/// is retried indefinitely. Nothing waits for it. With `keep_local` it removes files from the
/// archive that the store is known to have (P17: LocalRemoval).
class Follow final : private Sender::Client {
 public:
  /// Does not own its arguments.
  Follow(io::Directory& archive, ObjectStore& store, const Layout& layout, FollowOptions options,
         Threads& threads, Log& log);

  /// Runs until stop(). Throws Error{durability}, and what no retry is made of; view() has it then,
  /// too.
  void run();
  // Any thread, at once.
  void stop();
  /// This segment has its final form.
  void finished(wal::SegmentName segment);
  /// The archive has changed otherwise, such as by a new history file.
  void look_soon();
  /// The receiver starts streaming there.
  void stream_begins(const StoredEnd::Stream& stream);
  [[nodiscard]] StoreView view() const;

 private:
  using Time = Threads::Time;
  using SystemTime = StoreView::SystemTime;
  struct Pending {
    SystemTime since{};  ///< when it was completed
    std::uint64_t bytes = 0;
    bool offered = false;  ///< to the sender: the store was asked for it
  };
  /// What the coordinating thread does again and again.
  struct Round {
    Time (Follow::*look)();          ///< returns when it is due again
    bool (Follow::*wanted)() const;  ///< nullptr: always
    Time due{};
  };

  // Sender::Client
  void on_done(const UploadItem& item, const Uploader::Result& result,
               const std::vector<UploadItem>& settled) override;
  void on_failed(const Error& error, std::chrono::milliseconds rest) override;
  void on_stuck(const UploadItem& item, const Error& error) override;
  void on_given_up(const Error& error) override;
  void on_broken(const std::exception_ptr& failure) override;

  void send_until_stopped();
  void coordinate();
  void tell_lost(const Error& error) const;
  void step();
  void turn(Round& round);
  [[nodiscard]] bool wants(const Round& round) const {
    return round.wanted == nullptr || (this->*round.wanted)();
  }
  [[nodiscard]] Time next_due() const;
  bool take_lock();
  void take_told();
  void ask();
  void tell_stored_end();

  // Rounds
  [[nodiscard]] Time look();
  [[nodiscard]] Time write_mark();
  [[nodiscard]] Time send_open();
  [[nodiscard]] Time audit();
  [[nodiscard]] Time remove_local();
  [[nodiscard]] Time look_at_manifest();
  [[nodiscard]] Time resume();
  [[nodiscard]] bool is_known() const { return cluster_.has_value(); }
  [[nodiscard]] bool has_news() const;
  [[nodiscard]] bool sends_open() const { return open_segment_ && sender_.tools(); }
  [[nodiscard]] bool audits() const { return sender_.tools() != nullptr; }
  [[nodiscard]] bool removes() const { return removal_ && sender_.tools(); }
  [[nodiscard]] bool is_in_doubt() const { return ledger_.in_doubt(); }

  void look_at(const archive::Listing& listing);
  [[nodiscard]] bool known(const UploadItem& item) const;
  void add(const UploadItem& item, const archive::SegmentFileName* file);
  void make_tools(const archive::Listing& listing);
  void require_place();
  [[nodiscard]] bool is_previous_sent(const archive::DurableEnd& durable, const Mark& mark,
                                      const archive::Timelines& timelines);
  [[nodiscard]] bool put_lines();
  void doubt_begins();
  void begin_stored_end(const archive::Listing& listing);
  [[nodiscard]] Mark confirmable() const;
  void let_gone_go();
  void tell_gone(const UploadItem& item);
  bool record_gone(const std::vector<wal::SegmentName>& fresh);
  [[nodiscard]] bool is_here(const UploadItem& item);
  /// The store's state is needed even if no file is complete yet.
  [[nodiscard]] bool needs_tools() const { return options_.on_stored_end || options_.open_every; }
  void worked();
  void notify();
  [[nodiscard]] bool asked_to_stop() const { return options_.stop && options_.stop(); }
  void pause(std::chrono::milliseconds time);

  io::Directory& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const FollowOptions options_;
  Threads& threads_;
  Log& log_;
  const std::unique_ptr<Threads::Mutex> mutex_;  ///< taken before those of the members
  const std::unique_ptr<Threads::Condition> changed_;
  std::atomic<bool> stopping_ = false;
  FollowReport report_;

  // For the coordinating thread only:
  std::unique_ptr<io::File> mark_lock_;
  bool told_of_lock_ = false;
  std::optional<archive::Identity> cluster_;
  std::set<wal::TimelineId> histories_;           ///< known to the tools
  LossRecords losses_;                            ///< as of the last listing
  LossRecords mirrored_;                          ///< already in the store
  std::optional<StoredEnd::Stream> seen_stream_;  ///< before the last listing
  std::set<wal::SegmentName> raw_;                ///< in the last listing, and not taken
  std::set<wal::SegmentName> recorded_gone_;      ///< see record_gone()
  std::set<wal::SegmentName> new_gone_;           ///< not recorded yet
  Time place_due_{};                              ///< see require_place()
  Time doubt_ends_{};
  std::chrono::milliseconds lines_wait_{};  ///< Retry-After, if they could not be put
  Ledger ledger_;
  StoreAudit audit_;
  std::optional<OpenSegment> open_segment_;
  std::optional<LocalRemoval> removal_;
  // In the order of step(). The audit comes last: if it keeps failing, such as a listing that takes
  // too long, the others have had their turn.
  Round look_{&Follow::look, nullptr};
  Round mark_{&Follow::write_mark, &Follow::has_news};
  std::array<Round, 5> others_{{{&Follow::send_open, &Follow::sends_open},
                                {&Follow::remove_local, &Follow::removes},
                                {&Follow::resume, &Follow::is_known},
                                {&Follow::look_at_manifest, &Follow::is_in_doubt, Time::max()},
                                {&Follow::audit, &Follow::audits}}};
  Round& open_ = others_[0];
  Round& remove_ = others_[1];
  Round& doubt_ = others_[3];
  Round& next_audit_ = others_[4];

  // Guarded by mutex_.
  std::uint64_t changes_ = 0;  ///< for the coordinating thread to process
  bool look_now_ = false;
  std::optional<StoredEnd::Stream> stream_;  ///< started, and not yet processed
  StoredEnd stored_end_;
  Mark listed_;                      ///< what counts as sent and has a line in the store
  std::set<wal::SegmentName> told_;  ///< by finished()
  std::map<UploadItem, Pending> pending_;

  Sender sender_;  ///< the first to be destroyed
};

}  // namespace weir::store
