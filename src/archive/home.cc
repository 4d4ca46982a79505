#include "archive/home.h"

#include <cstdint>
#include <memory>

#include "archive/leftovers.h"
#include "archive/own_names.h"
#include "base/error.h"

namespace weir::archive {

namespace {

class FileDraft final : public Draft {
 public:
  explicit FileDraft(io::File& file) : file_(file) {}
  void write(std::span<const std::byte> bytes) override {
    file_.write_at(size_, bytes);
    size_ += bytes.size();
  }
  [[nodiscard]] io::Bytes& written() override { return file_; }

 private:
  io::File& file_;
  std::uint64_t size_ = 0;
};

/// Under which its content is written.
struct Temporary {
  std::string name;
  std::unique_ptr<io::File> file;
  std::unique_ptr<io::File> lock = nullptr;
};

Temporary create(io::Directory& directory, const Home::Publication& what) {
  if (what.writers == Home::Writers::many) {
    auto locked = create_locked(directory, what.name);
    return {std::move(locked.name), std::move(locked.file), std::move(locked.lock)};
  }
  const auto name = what.temporary.empty() ? temporary_name(what.name) : what.temporary;
  directory.remove(name);  // of an interrupted run
  return {name, nullptr};
}

}  // namespace

bool DirectoryHome::publish(const Publication& what, const Fill& fill) {
  auto temporary = create(directory_, what);
  try {
    if (!temporary.file) temporary.file = directory_.create(temporary.name);
    auto& file = *temporary.file;
    FileDraft draft(file);
    if (!fill(draft)) {
      directory_.remove(temporary.name);
      return false;
    }
    file.sync();   // the bytes, before they get the name
    file.close();  // late write errors appear here
    if (what.still_wanted && !what.still_wanted()) {
      directory_.remove(temporary.name);
      return false;
    }
    // Readers see all of it or none.
    if (what.replace)
      directory_.rename_replace(temporary.name, what.name);
    else
      directory_.rename_no_replace(temporary.name, what.name);
  } catch (const Error& error) {
    // A full disk needs the space. The first error is reported; the clean-up removes the file.
    if (error.kind() != ErrorKind::durability) {
      try {
        directory_.remove(temporary.name);
      } catch (const Error&) {
      }
    }
    throw;
  }
  // The caller relies on the file from now on: it confirms WAL of the timeline, streams after the
  // loss, or removes the raw file. A crash must not lose the name.
  directory_.sync();
  return true;
}

void publish_text(Home& home, const Home::Publication& what, std::string_view text) {
  home.publish(what, [&](Draft& draft) {
    draft.write(std::as_bytes(std::span(text.data(), text.size())));
    return true;
  });
}

}  // namespace weir::archive
