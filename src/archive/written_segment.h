#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/resume.h"
#include "base/threads.h"
#include "io/directory.h"
#include "io/pages.h"
#include "wal/segment.h"

namespace weir::archive {

/// A segment that is being written, shared by the writer and the jobs that sync it.
struct WrittenSegment {
  WrittenSegment(Threads& threads, wal::SegmentName segment_name, std::unique_ptr<io::File> file,
                 bool file_is_new, std::optional<OpenSegment> known);

  const wal::SegmentName name;
  const bool is_new;                  ///< the file was empty when it was opened
  std::unique_ptr<io::File> writing;  ///< the writing thread's; the finishing job's when full
  const std::optional<OpenSegment> trusted;
  std::shared_ptr<io::Pages> memory;  ///< belongs to the writing thread; set: the current piece
                                      ///< exists

  const std::unique_ptr<Threads::Mutex> mutex;
  std::string path;                                ///< its name right now
  std::vector<std::unique_ptr<io::File>> syncing;  ///< not in use; one job at a time has each
  bool closed = false;

  /// Returns an open file description that no other job is using. Opened ones are kept: a
  /// write-back error between two fsyncs is reported to every description that was open then.
  [[nodiscard]] std::unique_ptr<io::File> take_file(io::Directory& directory);
  void give_back(std::unique_ptr<io::File> file);
  /// All of them. Throws Error{durability}.
  void close();
  void rename(io::Directory& directory, const std::string& to, bool replace);
};

}  // namespace weir::archive
