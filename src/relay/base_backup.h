#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/threads.h"
#include "net/wake.h"
#include "wire/backend_messages.h"

namespace weir::relay {

/// Where base backups come from: a server of the same cluster, a user on it, and the maximum number
/// at once. Thread-safe. Must outlive its backups.
class BackupSource {
 public:
  struct Options {
    std::string conninfo;
    std::size_t most = 2;
  };
  BackupSource(Options options, std::uint64_t system_identifier, Log& log)
      : options_(std::move(options)), system_identifier_(system_identifier), log_(log) {}
  BackupSource(const BackupSource&) = delete;
  BackupSource& operator=(const BackupSource&) = delete;

 private:
  friend class BaseBackup;
  const Options options_;
  const std::uint64_t system_identifier_;
  Log& log_;
  std::atomic<std::size_t> running_ = 0;
};

/// One BASE_BACKUP: a thread requests it from the source's server, and buffers a little of the
/// answer until it is taken. Connecting, an unresponsive server, or a slow client block only this
/// thread. The object belongs to one thread.
class BaseBackup {
 public:
  /// `for_whom` is for the log; the thread calls `wake` when there is something to take.
  BaseBackup(BackupSource& source, std::string command, std::string for_whom,
             std::function<void()> wake);
  /// Ends it, also in the middle: the connection is closed.
  ~BaseBackup();
  BaseBackup(const BaseBackup&) = delete;
  BaseBackup& operator=(const BaseBackup&) = delete;

  /// How it ended; the client then gets a ReadyForQuery, except for `fatal`.
  struct End {
    enum class Kind {
      done,
      failed,  ///< the last message is the server's error
      fatal,   ///< likewise, and the server closed the connection
      broken,  ///< `report` must be logged: it is not the server's message
    } kind = Kind::done;
    wire::ErrorReport report{};
  };
  /// Appends the bytes received so far. Returns the end, once everything was taken.
  [[nodiscard]] std::optional<End> take(std::string& out);

 private:
  void work();
  End carry();
  void put(std::string& bytes);

  BackupSource& source_;
  const std::string command_;
  const std::string for_whom_;
  const std::function<void()> wake_;
  bool counted_ = false;

  std::mutex mutex_;
  std::string bytes_;       ///< guarded by mutex_
  std::optional<End> end_;  ///< guarded by mutex_; follows bytes_
  net::Wake room_;          ///< part of the answer was taken
  net::Wake stop_;
  std::unique_ptr<Threads::Thread> thread_;
};

}  // namespace weir::relay
