#include "archive/written_segment.h"

#include <mutex>
#include <utility>

#include "archive/listing.h"
#include "base/error.h"

namespace weir::archive {

WrittenSegment::WrittenSegment(Threads& threads, wal::SegmentName segment_name,
                               std::unique_ptr<io::File> file, bool file_is_new,
                               std::optional<OpenSegment> known)
    : name(segment_name),
      is_new(file_is_new),
      writing(std::move(file)),
      trusted(known),
      mutex(threads.make_mutex()),
      path(SegmentFileName{segment_name, codec::Method::none, true}.to_string()) {}

std::unique_ptr<io::File> WrittenSegment::take_file(io::Directory& directory) {
  std::string file_name;
  {
    const std::lock_guard lock(*mutex);
    if (!syncing.empty()) {
      auto file = std::move(syncing.back());
      syncing.pop_back();
      return file;
    }
    file_name = path;
  }
  // Not under the lock: it may hang, and a job whose sync has failed must not wait for it.
  auto file = directory.open(file_name);
  if (!file)
    throw Error(ErrorKind::io, "the segment being written has disappeared")
        .with("path", directory.path() + "/" + file_name)
        .hint("Only pgweir may rename or remove files with the suffix .partial.");
  return file;
}

void WrittenSegment::give_back(std::unique_ptr<io::File> file) {
  {
    const std::lock_guard lock(*mutex);
    if (!closed) {
      syncing.push_back(std::move(file));
      return;
    }
  }
  file->close();
}

void WrittenSegment::close() {
  std::vector<std::unique_ptr<io::File>> files;
  {
    const std::lock_guard lock(*mutex);
    files.swap(syncing);
    closed = true;
  }
  for (const auto& file : files) file->close();
  if (const auto file = std::exchange(writing, nullptr)) file->close();
}

void WrittenSegment::rename(io::Directory& directory, const std::string& to, bool replace) {
  const std::lock_guard lock(*mutex);
  if (replace)
    directory.rename_replace(path, to);
  else
    directory.rename_no_replace(path, to);
  path = to;
}

}  // namespace weir::archive
