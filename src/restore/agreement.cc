#include "restore/agreement.h"

#include <algorithm>
#include <array>
#include <vector>

#include "archive/forms.h"
#include "archive/segment_bytes.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "restore/content_source.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::restore {

namespace {

/// Of differences, bytes that no reader uses are few.
constexpr std::size_t kMostUnused = 16;
constexpr const char* kUnused =
    "{} and {} differ in bytes that no reader uses, at offset {} in the segment: one of them was "
    "changed on its disk";

/// For who reads only to check.
class Nowhere final : public Output {
 public:
  void expect(std::uint64_t) override {}
  bool append(std::span<const std::byte>) override { return true; }
  std::size_t read_at(std::uint64_t, std::span<std::byte>) override { return 0; }
  std::uint64_t size() override { return 0; }
};

/// Offsets of the first bytes before `upto` at which the file differs from `content`, `most` at
/// most; if it ends before, that end.
std::vector<std::uint64_t> differences(io::Bytes& content, io::Shelf& shelf,
                                       const archive::SegmentFileName& name, wal::SegmentSize size,
                                       std::uint64_t upto, std::size_t most) {
  std::vector<std::uint64_t> found;
  std::uint64_t at = 0;
  std::vector<std::byte> ours;
  archive::read_segment(shelf, name, size, [&](std::span<const std::byte> theirs) {
    theirs = theirs.first(std::min<std::uint64_t>(theirs.size(), upto - at));
    ours.resize(theirs.size());
    const auto count = content.read_at(at, ours);
    for (std::size_t i = 0; found.size() < most; ++i) {
      const auto mine = std::span(ours).first(count).subspan(std::min<std::size_t>(i, count));
      i = static_cast<std::size_t>(
          std::mismatch(mine.begin(), mine.end(), theirs.begin() + i, theirs.end()).second -
          theirs.begin());
      if (i == theirs.size()) break;
      found.push_back(at + i);
    }
    at += theirs.size();
    // A whole segment is read to its end: its checksum is at the end.
    return found.size() < most && (at < upto || upto == size.bytes());
  });
  if (at < upto && found.size() < most) found.push_back(at);
  return found;
}

/// Takes out the bytes between the end of a record and the next one.
class Padding final : public wal::RecordObserver {
 public:
  Padding(std::vector<std::uint64_t>& offsets, wal::Lsn start) : offsets_(offsets), start_(start) {}
  bool wants(const wal::RecordHeader&) override { return false; }
  void on_record(wal::Lsn, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte>) override {
    constexpr std::uint32_t kAlignment = 8;
    const auto padding = (kAlignment - header.total_length % kAlignment) % kAlignment;
    std::erase_if(offsets_, [&](std::uint64_t offset) {
      return start_ + offset < end && end - (start_ + offset) <= padding;
    });
  }

 private:
  std::vector<std::uint64_t>& offsets_;
  const wal::Lsn start_;
};

/// True if no reader uses these bytes of a valid segment, and no checksum covers them: of one that
/// was changed on a disk, nothing else tells. A page header's last four are such, too.
bool are_unused(std::vector<std::uint64_t> offsets, const Fetched& checked, io::Bytes& content) {
  constexpr std::uint64_t kUsedOfHeader = 20;
  std::erase_if(offsets, [](std::uint64_t offset) {
    const auto in_page = offset % wal::kPageSize;
    return kUsedOfHeader <= in_page && in_page < wal::kShortHeaderSize;
  });
  const auto start = checked.source.segment.start(checked.size);
  Padding padding(offsets, start);
  wal::RecordVerifier verifier({.segment_size = checked.size,
                                .timeline = checked.source.segment.timeline(),
                                .observer = &padding},
                               start);
  std::vector<std::byte> piece(std::size_t{128} << 10);
  for (std::uint64_t at = 0; at < checked.records_end && !offsets.empty();) {
    const auto count = content.read_at(at, piece);
    if (count == 0 || verifier.feed(std::span(piece).first(count))) break;
    at += count;
  }
  return offsets.empty();
}

/// Returns if all meaningful bytes are the same. Throws Error if it is not valid,
/// Contradiction if it is.
void compare(Archives& archives, SegmentCheck& check, const Fetched& checked, io::Bytes& content,
             const Copy& other, Log& log) {
  auto& shelf = archives.shelf(other.archive);
  const auto found =
      differences(content, shelf, other.name, checked.size, checked.records_end, kMostUnused + 1);
  if (found.empty()) return;
  Nowhere nowhere;
  const auto theirs = check.read(other, nowhere, SegmentCheck::Haste::none).value();
  const auto bytes = archive::SegmentBytes::open(shelf, other.name, theirs.size);
  if (!bytes) throw system_error(ENOENT, "the segment file is gone");
  ContentSource source(other.name.segment.start(theirs.size), *bytes);
  check.check_seam_of(theirs, source);
  check.check_long_record_of(theirs, source);
  if (found.size() <= kMostUnused && are_unused(found, checked, content))
    return log.warning(kUnused, archives.path_of(checked.copy()), archives.path_of(other),
                       found.front());
  const bool forms = other.archive == checked.archive;
  throw Contradiction(ErrorKind::conflict,
                      forms ? "two files of the segment are valid, but different"
                            : "two archives have valid, but different copies of the segment")
      .with("file", archives.path_of(checked.copy()))
      .with("and", archives.path_of(other))
      .with("offset in the segment", found.front())
      .hint(
          "One of them belongs to another history of the cluster (a server that was promoted "
          "without a new timeline, an archive that two servers wrote to). Move the wrong one away: "
          "pgweir verify shows which one is consistent with the adjacent segments.");
}

/// `content` reads the valid part of `best` up to `upto`, which the other must have as well. No
/// checksum of these files covers the end of the record that began in the segment before: if it is
/// damaged in the other file, that is logged; if in `best`, it is thrown.
void require_same_bytes(Archives& archives, SegmentCheck& check, const Partial& best,
                        const Partial& other, io::Bytes& content, wal::SegmentSize size,
                        std::uint64_t upto, Log& log) {
  auto& shelf = archives.shelf(other.copy.archive);
  const auto found = differences(content, shelf, other.copy.name, size, upto, kMostUnused + 1);
  if (found.empty()) return;
  const auto part = [&](const Partial& of) {
    return Fetched{.source = of.copy.name,
                   .archive = of.copy.archive,
                   .identity = {},
                   .size = size,
                   .first_record = of.first_record,
                   .records_end = upto,
                   .previous_record = of.previous_record};
  };
  const auto bytes = archive::SegmentBytes::open(shelf, other.copy.name, size);
  if (!bytes) throw system_error(ENOENT, "the partial segment was removed");
  const auto start = best.copy.name.segment.start(size);
  ContentSource theirs(start, *bytes), ours(start, content);
  try {
    check.check_seam_of(part(other), theirs);
  } catch (const Error& damage) {
    if (damage.kind() != ErrorKind::damage) throw;
    return log.error(damage);
  }
  check.check_seam_of(part(best), ours);
  if (found.size() <= kMostUnused && are_unused(found, part(best), content))
    return log.warning(kUnused, archives.path_of(best.copy), archives.path_of(other.copy),
                       found.front());
  throw Contradiction(ErrorKind::conflict,
                      "two partial files of the segment are valid, but different")
      .with("file", archives.path_of(best.copy))
      .with("and", archives.path_of(other.copy))
      .with("offset in the segment", found.front())
      .hint(
          "One of them belongs to another history of the cluster: two servers were primary on one "
          "timeline. Specify only the archive of the right one.");
}

}  // namespace

std::optional<Copy> first_copy(Archives& archives, wal::SegmentName segment) {
  std::optional<Copy> found;
  archives.ask_each([&](std::size_t i) {
    if (found) return;
    if (const auto name = archive::find_finished(archives.shelf(i), segment)) found = {i, *name};
  });
  return found;
}

void require_agreement(Archives& archives, SegmentCheck& check, const Fetched& checked,
                       io::Bytes& content, const Options& options, Log& log,
                       std::span<const Copy> told) {
  if (checked.records_end == 0) return;  // nothing was checked
  const auto segment = checked.source.segment;
  for (const auto& form : archive::finished_names(segment)) {
    const Copy other{checked.archive, form};
    if (form == checked.source || !archives.shelf(checked.archive).find(form.to_string())) continue;
    try {
      compare(archives, check, checked, content, other, log);
    } catch (const Contradiction&) {
      throw;
    } catch (const Error&) {
      continue;  // the other one is not valid, or was removed
    }
  }
  if (!archives.several() || options.first_sound) return;

  std::array<std::byte, wal::kLongHeaderSize> front{};
  const bool whole = content.read_at(0, front) == front.size();
  const auto page = whole ? wal::decode_page_header(front) : std::nullopt;
  archives.ask_each([&](std::size_t i) {
    if (i == checked.archive || i == options.store) return;
    bool proved = false;
    for (const auto& form : archive::finished_names(segment)) {
      const Copy other{i, form};
      const auto file = form.to_string();
      if (std::find(told.begin(), told.end(), other) != told.end()) continue;
      if (!archives.shelf(i).find(file)) continue;
      try {
        compare(archives, check, checked, content, other, log);
        proved = true;
      } catch (const Contradiction&) {
        if (page)
          archives.require_same_cluster(i, page->system_identifier);  // says why they differ
        throw;
      } catch (const Error& error) {
        if (!archives.shelf(i).find(file)) continue;  // another format by now, or removed
        if (archives.nobody_tells_the_cluster(error)) throw;
        log.error(error);
        log.warning("{} was skipped: {} is valid", archives.path_of(other),
                    archives.path_of(checked.copy()));
      }
    }
    if (!proved && page) archives.require_same_cluster(i, page->system_identifier);
  });
}

void require_longest(Archives& archives, SegmentCheck& check, const Partial& best,
                     const std::vector<Partial>& others, wal::SegmentSize size,
                     const Options& options, std::optional<wal::Lsn> left, Log& log) {
  const bool has_all = left && best.cut >= *left;
  const auto start = best.copy.name.segment.start(size);
  for (const auto& other : others) {
    if (other.copy.archive == best.copy.archive) continue;
    if (other.damage) {
      if (other.written_to > best.cut && !best.damage && !has_all && !options.partial_damaged)
        throw Error(*other.damage)
            .hint(fmt::format(
                "WAL was written there beyond the end of {}, which is valid up to {}: it would be "
                "lost. If there is no better copy, --partial-damaged accepts this.",
                archives.path_of(best.copy), best.cut));
      log.error(*other.damage);
    }
    const auto agreed = std::min({other.cut, best.cut, left.value_or(best.cut)});
    if (!other.checked || !best.checked || agreed <= start) continue;
    const auto content =
        archive::SegmentBytes::open(archives.shelf(best.copy.archive), best.copy.name, size);
    if (!content) throw system_error(ENOENT, "the partial segment was removed");
    require_same_bytes(archives, check, best, other, *content, size, agreed - start, log);
  }
}

bool begins_as(Archives& archives, const Copy& copy, io::Bytes& content, wal::SegmentSize size,
               std::uint64_t upto) {
  return differences(content, archives.shelf(copy.archive), copy.name, size, upto, 1).empty();
}

}  // namespace weir::restore
