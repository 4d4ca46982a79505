#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "io/directory.h"

namespace weir::archive {

/// The content of a file without a name, written sequentially. One thread.
class Draft {
 public:
  virtual ~Draft() = default;
  Draft() = default;
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  /// Appends. Throws Error{disk_full, io}.
  virtual void write(std::span<const std::byte> bytes) = 0;
  /// The written bytes, to be verified before the file is renamed into place.
  [[nodiscard]] virtual io::Bytes& written() = 0;
};

/// Publishes whole files: complete segments, histories, records. (For the files into which a
/// receiver streams: segment_writer.h.) A reader finds a complete file under its name, or nothing
/// (P2). The steps for this are internal to this class; its callers see no temporary name, rename
/// or fsync.
class Home {
 public:
  virtual ~Home() = default;
  Home() = default;
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;

  enum class Writers {
    /// One at a time for this name, by the archive's lock or because each has a name of its own:
    /// leftovers of an interrupted run are overwritten.
    one,
    /// Several at once, and a receiver that starts and cleans up: they do not disturb each other.
    /// Leftovers of interrupted runs are removed by remove_leftovers() (leftovers.h).
    many,
  };
  struct Publication {
    std::string name;
    bool replace = false;  ///< the existing file of that name; otherwise that is Error{conflict}
    Writers writers = Writers::one;
    /// Called last, when everything except the name is durable: if it returns false, the file is
    /// not renamed.
    std::function<bool()> still_wanted = nullptr;
    /// Hidden name under which the file is written first; empty: chosen by Home.
    std::string temporary = {};
  };
  /// Writes the content. False: it is not to be published after all.
  using Fill = std::function<bool(Draft& draft)>;

  /// When this returns true, content and name survive a power loss. Returns false if `fill` or
  /// `still_wanted` returned false; then no file remains. The same applies if it throws (as far as
  /// the disk allows): whatever `fill` throws, Error{conflict} if the name is taken,
  /// Error{disk_full, io, durability}.
  virtual bool publish(const Publication& what, const Fill& fill) = 0;
};

/// Publishes in a directory: hidden temporary file, fsync, rename, fsync of the directory. Does not
/// own it. Any thread.
class DirectoryHome final : public Home {
 public:
  explicit DirectoryHome(io::Directory& directory) : directory_(directory) {}
  bool publish(const Publication& what, const Fill& fill) override;

 private:
  io::Directory& directory_;
};

/// A publication of a small text.
void publish_text(Home& home, const Home::Publication& what, std::string_view text);

}  // namespace weir::archive
