#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/periodic_look.h"
#include "receive/feed.h"
#include "receive/status_board.h"
#include "web/history.h"

namespace weir::web {

/// In the archive directory: figures of the last days, of no use without the archive
/// (docs/archive-directory.md).
inline constexpr std::string_view kHistoryName = ".pgweir-history";

/// What the file of an archive says; nullopt: there is none, or it cannot be read.
[[nodiscard]] std::optional<History> read_history(const std::string& directory);

/// A History that several threads use, and its file.
class Record;

/// Notes a receiver's figures every ten seconds, and what it tells, by a thread of its own that
/// never touches the disk: record() is what loads and saves, on another one's thread.
class Recorder {
 public:
  /// Both outlive it. `directory` is the archive.
  Recorder(receive::Feed& feed, const receive::StatusBoard& board, std::string directory);

  [[nodiscard]] History history() const;
  /// Since the stream's guardian last said that it is there.
  [[nodiscard]] std::chrono::milliseconds since_progress() const;
  /// Keeps the file up to date: to be called now and then by a thread that may wait for the disk.
  /// May be called when the recorder is gone; `last`: at once, for the last time.
  [[nodiscard]] std::function<void(bool last)> keeper() const;

 private:
  void sample();
  void on_event(const receive::Event& happened);

  const receive::StatusBoard& board_;
  std::shared_ptr<Record> record_;
  receive::Feed::Subscription subscription_;
  PeriodicLook look_;
};

}  // namespace weir::web
