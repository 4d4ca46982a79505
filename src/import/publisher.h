#pragma once

#include <functional>
#include <string>

#include "archive/home.h"
#include "import/judge.h"
#include "import/offers.h"
#include "io/directory.h"
#include "wal/segment.h"

namespace weir::importing {

/// Copies accepted files into the archive. A copy is read again before it is renamed into place,
/// and must equal the verified content: the file may have changed meanwhile. One thread.
class Publisher {
 public:
  Publisher(io::Directory& archive, wal::SegmentSize segment_size)
      : archive_(archive), home_(archive), size_(segment_size) {}

  enum class Outcome {
    published,
    taken,      ///< there is a file of that name by now
    withdrawn,  ///< `still_wanted` returned false
  };
  /// In its own format, a partial file's content as a raw segment. Throws Error{damage} if the file
  /// has changed since it was verified; Error{disk_full, io, durability}.
  Outcome publish(const Slot& slot, const std::function<bool()>& still_wanted);
  [[nodiscard]] static archive::SegmentFileName target(const Slot& slot);

  /// Replaces `damaged`, a complete file of the segment, in that file's format: one of the two
  /// exists at every moment. The damaged one is kept under a hidden name; other damaged files are
  /// moved there after it.
  void replace(const Slot& slot, const std::vector<archive::SegmentFileName>& damaged);

  Outcome publish_history(const OfferedHistory& history);

 private:
  bool fill(archive::Draft& draft, const Slot& slot, codec::Method method);
  void keep_copy(const std::string& file);

  io::Directory& archive_;
  archive::DirectoryHome home_;
  const wal::SegmentSize size_;
};

}  // namespace weir::importing
