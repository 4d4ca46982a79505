#include "import/publisher.h"

#include <vector>

#include "archive/content.h"
#include "archive/own_names.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "codec/codec.h"
#include "codec/names.h"
#include "wal/timeline_history.h"

namespace weir::importing {

namespace {

constexpr std::size_t kPiece = 256 * 1024;

template <typename Take>
void read_all(io::Bytes& file, Take take) {
  std::vector<std::byte> buffer(kPiece);
  for (std::uint64_t at = 0;;) {
    const auto count = file.read_at(at, buffer);
    if (count > 0) take(std::span<const std::byte>(buffer).first(count));
    if (count < buffer.size()) return;
    at += count;
  }
}

archive::Digest digest_of(io::Bytes& file) {
  archive::Digest digest;
  read_all(file, [&](auto bytes) { digest.add(bytes); });
  return digest;
}

}  // namespace

archive::SegmentFileName Publisher::target(const Slot& slot) {
  const auto& name = slot.offer.name;
  return {name.segment, name.partial ? codec::Method::none : name.method, false};
}

Publisher::Outcome Publisher::publish(const Slot& slot, const std::function<bool()>& still_wanted) {
  const auto name = target(slot);
  try {
    const bool published =
        home_.publish({.name = name.to_string(),
                       .writers = archive::Home::Writers::many,
                       .still_wanted = still_wanted},
                      [&](archive::Draft& draft) { return fill(draft, slot, name.method); });
    return published ? Outcome::published : Outcome::withdrawn;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::conflict) throw;
    return Outcome::taken;
  }
}

bool Publisher::fill(archive::Draft& draft, const Slot& slot, codec::Method method) {
  const auto& offer = slot.offer;
  const auto path = offer.path();
  if (method == offer.name.method && !offer.name.partial) {
    const auto file = offer.shelf->open_bytes(offer.name.to_string());
    if (!file)
      throw Error(ErrorKind::damage, "the file was removed after it was checked")
          .with("file", path);
    read_all(*file, [&](auto bytes) { draft.write(bytes); });
  } else if (method == codec::Method::none) {
    archive::read_segment(*offer.shelf, offer.name, size_, [&](auto wal) {
      draft.write(wal);
      return true;
    });
  } else {
    const auto compressor = codec::make_compressor(codec::usual_compression(method), size_.bytes());
    const codec::PackedSink sink = [&](auto bytes) { draft.write(bytes); };
    archive::read_segment(*offer.shelf, offer.name, size_, [&](auto wal) {
      compressor->feed(wal, sink);
      return true;
    });
    compressor->finish(sink);
  }
  archive::Digest digest;
  archive::read_content(draft.written(), method, path, [&](auto wal) {
    digest.add(wal);
    return true;
  });
  if (digest != slot.digest)
    throw Error(ErrorKind::damage, "the file changed after it was checked")
        .with("file", path)
        .hint("A server recycles the files of its pg_wal. Run the command again.");
  return true;
}

void Publisher::replace(const Slot& slot, const std::vector<archive::SegmentFileName>& damaged) {
  PGWEIR_CHECK(!damaged.empty());
  const auto name = damaged.front().to_string();
  keep_copy(name);
  home_.publish({.name = name, .replace = true, .writers = archive::Home::Writers::many},
                [&](archive::Draft& draft) { return fill(draft, slot, damaged.front().method); });
  for (std::size_t i = 1; i < damaged.size(); ++i) {
    keep_copy(damaged[i].to_string());
    archive_.remove(damaged[i].to_string());
  }
  archive_.sync();
}

void Publisher::keep_copy(const std::string& file) {
  const auto damaged = archive_.open_bytes(file);
  if (!damaged) return;
  const auto digest = digest_of(*damaged);
  for (int number = 1;; ++number) {
    const auto name = archive::damaged_name(file, number);
    if (const auto kept = archive_.open_bytes(name)) {
      if (digest_of(*kept) == digest) return;  // by a run that was interrupted
      continue;
    }
    home_.publish({.name = name, .writers = archive::Home::Writers::many},
                  [&](archive::Draft& draft) {
                    read_all(*damaged, [&](auto bytes) { draft.write(bytes); });
                    return true;
                  });
    return;
  }
}

Publisher::Outcome Publisher::publish_history(const OfferedHistory& history) {
  try {
    archive::publish_text(home_,
                          {.name = wal::history_name(history.history.timeline()),
                           .writers = archive::Home::Writers::many},
                          history.content);
    return Outcome::published;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::conflict) throw;
    return Outcome::taken;
  }
}

}  // namespace weir::importing
