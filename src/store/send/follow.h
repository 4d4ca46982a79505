#pragma once

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
#include "archive/home.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "codec/codec.h"
#include "io/directory.h"
#include "store/layout.h"
#include "store/ledger/manifest_writer.h"
#include "store/ledger/mark.h"
#include "store/object_store.h"
#include "store/pace.h"
#include "store/send/audit.h"
#include "store/send/follow_trouble.h"
#include "store/send/keep_local.h"
#include "store/send/open_segment.h"
#include "store/send/same_cluster.h"
#include "store/send/store_view.h"
#include "store/send/stored_end.h"
#include "store/send/upload_plan.h"
#include "store/send/upload_start.h"
#include "store/send/uploader.h"

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
/// archive that the store is known to have (P17).
class Follow {
 public:
  /// Does not own its arguments.
  Follow(io::Directory& archive, ObjectStore& store, const Layout& layout, FollowOptions options,
         Threads& threads, Log& log);
  ~Follow();
  Follow(const Follow&) = delete;
  Follow& operator=(const Follow&) = delete;

  /// Runs until stop(). Throws Error{durability} only.
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
  static constexpr std::chrono::milliseconds kAskStop{200};
  using Time = Threads::Time;
  using SystemTime = StoreView::SystemTime;
  struct Pending {
    SystemTime since{};  ///< when it was completed
    std::uint64_t bytes = 0;
    bool offered = false;  ///< to the plan: the store was asked for it
  };
  /// What the workers use; based on one listing of history files.
  struct Tools {
    archive::Identity cluster;
    archive::Timelines timelines;
    Uploader uploader;
    Tools(const Uploader::Where& where, Conditions conditions, archive::Identity identity,
          archive::Timelines histories);
  };

  void step();
  bool take_lock();
  void look();
  [[nodiscard]] bool known(const UploadItem& item) const;
  void add(const UploadItem& item, const archive::SegmentFileName* file, SystemTime now);
  void take_told();
  void ask();
  void write_mark();
  bool write_manifest(std::vector<ManifestEntry> entries);
  void doubt_begins();
  void look_at_manifest();
  void begin_stored_end(const archive::Listing& listing);
  void let_gone_go();
  void tell_gone(const UploadItem& item);
  [[nodiscard]] bool is_here(const UploadItem& item);
  void tell_stored_end();
  void send_open();
  void send_open(const archive::DurableEnd& durable, const Tools& tools);
  [[nodiscard]] bool needs_tools() const;
  void audit();
  [[nodiscard]] bool miss(wal::SegmentName segment);
  void record_lost(const std::set<wal::SegmentName>& lost);
  void keep_local();
  bool remove_stored(const Tools& tools);
  [[nodiscard]] bool surely_stored(const Tools& tools, wal::SegmentName segment,
                                   const FormsThere& there, std::string& stays);
  void tell_kept(const std::string& why);
  void work(std::size_t worker);
  void take_turns(std::size_t worker);
  bool send(const Tools& tools, const UploadItem& item, const FormsThere::mapped_type& there);
  void settle(const UploadItem& item, Uploader::Result result);
  void forget_published(wal::SegmentName segment);
  void note(const Error& error);
  void note_stuck(const UploadItem& item, const char* what, const Error& error);
  void note_success();
  void notify();
  [[nodiscard]] bool asked_to_stop() const { return options_.stop && options_.stop(); }
  void pause(Threads::Lock& lock, std::chrono::milliseconds time);

  io::Directory& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const FollowOptions options_;
  Threads& threads_;
  Log& log_;
  archive::DirectoryHome home_;
  const std::unique_ptr<Threads::Mutex> mutex_;
  const std::unique_ptr<Threads::Condition> changed_;
  std::atomic<bool> stopping_ = false;

  // Of the coordinating thread.
  std::unique_ptr<io::File> mark_lock_;
  bool told_of_lock_ = false;
  std::optional<archive::Identity> cluster_;
  std::set<wal::TimelineId> histories_;  ///< known to the tools
  std::optional<Conditions> conditions_;
  std::optional<SameCluster> place_;  ///< until it is known to be this cluster's
  bool place_is_ours_ = false;
  std::set<std::string> losses_;                  ///< names of records, as of the last listing
  std::set<std::string> mirrored_;                ///< already in the store
  std::optional<StoredEnd::Stream> seen_stream_;  ///< before the last listing
  std::set<wal::SegmentName> raw_;                ///< in the last listing, and not taken
  Time next_look_{};
  Time next_mark_{};
  Time next_resume_{};
  Time next_audit_{};
  std::optional<Audit> audit_;  ///< in progress
  std::optional<OpenSegment> open_segment_;
  Time next_open_{};
  bool told_kept_open_ = false;
  Time next_keep_{};
  Time keep_not_before_{};
  std::chrono::nanoseconds looking_took_{};
  Mark written_;                              ///< as it is on disk
  std::optional<ManifestMemory> remembered_;  ///< by an earlier process
  std::unique_ptr<ManifestWriter> manifest_;
  Time next_doubt_ = Time::max();
  Time doubt_ends_{};
  std::uint64_t sent_at_keep_ = 0;

  // Guarded by mutex_.
  std::uint64_t changes_ = 0;  ///< for the coordinating thread to process
  bool look_now_ = false;
  std::optional<StoredEnd::Stream> stream_;  ///< started, and not yet processed
  StoredEnd stored_end_;
  std::set<wal::SegmentName> told_;  ///< by finished()
  std::map<UploadItem, Pending> pending_;
  FormsThere there_;
  std::unique_ptr<UploadPlan> plan_;
  std::vector<ManifestEntry> entries_;  ///< of stored files, for the manifest
  std::shared_ptr<const Tools> tools_;
  RequestWindow window_;
  FollowTrouble trouble_;
  std::exception_ptr failure_;  ///< by a worker; ends run()
  StoreView view_;
  std::set<wal::SegmentName> lost_;  ///< sent, and now missing in the store and in the archive
};

}  // namespace weir::store
