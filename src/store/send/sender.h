#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/timelines.h"
#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "io/directory.h"
#include "store/ledger/manifest_line.h"
#include "store/ledger/mark.h"
#include "store/pace.h"
#include "store/send/upload_plan.h"
#include "store/send/upload_start.h"
#include "store/send/uploader.h"

namespace weir::store {

/// What uploads need to know of an archive, as of one listing of its history files.
struct SendTools {
  archive::Identity cluster;
  archive::Timelines timelines;
  Uploader uploader;
  SendTools(const Uploader::Where& where, Conditions conditions, archive::Identity identity,
            archive::Timelines histories);
  SendTools(const SendTools&) = delete;
  SendTools& operator=(const SendTools&) = delete;
};

/// Uploads files of an archive that are offered to it, several at once. A failed upload is repeated
/// after a random time. Which files count as sent is decided by its UploadPlan. Any thread.
class Sender {
 public:
  /// Is told what becomes of the files, by the sender's threads.
  class Client {
   public:
    virtual ~Client() = default;
    Client() = default;
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// The store has this file, or it is gone from the archive. `settled` are no longer waited for:
    /// they count as sent by now, which no file does after one that is not stored yet, or are gone.
    /// One call at a time, in their order; repeated if it throws.
    virtual void on_done(const UploadItem& item, const Uploader::Result& result,
                         const std::vector<UploadItem>& settled) = 0;
    /// It is tried again after that time.
    virtual void on_failed(const Error& error, std::chrono::milliseconds rest) = 0;
    /// It is not sent, nor what follows on its timeline, until resume().
    virtual void on_stuck(const UploadItem& item, const Error& error) = 0;
    /// With `retry_for`: nothing more is started, since another file would fail as well.
    virtual void on_given_up(const Error& error) = 0;
    /// A thread has ended by this exception (throw_failure()).
    virtual void on_broken(const std::exception_ptr& failure) = 0;
  };
  struct Options {
    std::size_t jobs = 4;
    /// How long a file is retried; the threads end when nothing is left to send. nullopt: both
    /// never.
    std::optional<std::chrono::milliseconds> retry_for{};
    Threads::Priority priority = Threads::Priority::normal;
    std::uint64_t seed = 0;
  };

  /// Does not own its arguments.
  Sender(io::Directory& archive, Client& client, const Options& options, Threads& threads,
         Log& log);
  /// Aborts nothing: waits for uploads in progress.
  ~Sender();
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  /// Once, before anything else: what counts as sent.
  void begin(Mark mark);
  /// From now on; nothing is sent before that.
  void use(std::shared_ptr<const SendTools> tools);
  [[nodiscard]] std::shared_ptr<const SendTools> tools() const;
  void offer(const std::vector<UploadItem>& items, FormsThere there);
  /// Files that are stuck can be retried.
  void resume();
  /// Whether files that were offered wait until further notice. Not with `retry_for`.
  void hold(bool held);
  /// The store no longer has it: it does not count as sent, and can be offered again.
  void forget(const UploadItem& item);

  /// Up to `jobs` threads, and not more than files wait if they end when nothing is left. Can be
  /// called again if it throws std::system_error: only the others are started then.
  void start();
  /// Starts nothing more. At once.
  void stop();
  /// Waits for the threads.
  void join() { workers_.clear(); }
  /// What one of the threads has thrown, once they are joined.
  void throw_failure() const;
  /// Waits for news, or that time. Returns false if all threads have ended.
  bool wait_until(Threads::Time time, const Mark& written);

  [[nodiscard]] Mark mark() const;
  [[nodiscard]] bool has(const UploadItem& item) const;  ///< it counts as sent
  [[nodiscard]] std::size_t waiting() const;
  /// Files that do not count as sent, for any reason.
  [[nodiscard]] std::vector<UploadItem> pending() const;

  /// What counts as sent, and what has happened since the last call: each file that the mark has
  /// got a line by then, and a segment that it has passed without having it is in `gone`.
  struct News {
    Mark mark{};
    std::vector<ManifestEntry> lines{};
    std::vector<wal::SegmentName> gone{};  ///< from the archive, before they were sent
  };
  [[nodiscard]] News take_news();
  [[nodiscard]] bool has_news(const Mark& written) const;
  /// An object that was stored again.
  void add_line(ManifestEntry entry);

 private:
  using Forms = FormsThere::mapped_type;
  void work(std::size_t worker);
  void take_turns(std::size_t worker);
  std::chrono::milliseconds send(const SendTools& tools, const UploadItem& item, const Forms& there,
                                 RetryPolicy& retry);
  void settle(const UploadItem& item, const Uploader::Result& result, RetryPolicy& retry);
  template <typename Step>
  bool repeat(RetryPolicy& retry, const Step& step);
  void forget_published(wal::SegmentName segment);
  [[nodiscard]] bool is_being_written(wal::SegmentName segment, wal::SegmentSize size,
                                      const Error& error);
  std::chrono::milliseconds again(const UploadItem& item, const Error& error, RetryPolicy& retry);

  io::Directory& archive_;
  Client& client_;
  const Options options_;
  Threads& threads_;
  Log& log_;
  const std::unique_ptr<Threads::Mutex> telling_;  // taken before the next: on_done() keeps order
  const std::unique_ptr<Threads::Mutex> mutex_;    // guards all below but the workers
  const std::unique_ptr<Threads::Condition> changed_;
  std::optional<UploadPlan> plan_;
  FormsThere there_;
  std::shared_ptr<const SendTools> tools_;
  RequestWindow window_;
  std::map<UploadItem, Threads::Time> retry_until_;  ///< of files that have failed
  std::set<wal::SegmentName> just_changed_;  ///< had been completed when they were found damaged
  std::vector<ManifestEntry> lines_;         ///< of stored files
  std::vector<wal::SegmentName> gone_;       ///< see News
  std::size_t working_ = 0;
  bool held_ = false;
  bool stopping_ = false;
  std::exception_ptr failure_;
  std::vector<std::unique_ptr<Threads::Thread>> workers_;
};

}  // namespace weir::store
