#include "restore/restore.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <span>
#include <thread>
#include <variant>
#include <vector>

#include "archive/compare.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "codec/codec.h"
#include "io/posix_directory.h"
#include "restore/absence.h"
#include "restore/fetched.h"
#include "restore/history.h"
#include "restore/prefetcher.h"
#include "restore/seam.h"
#include "restore/target.h"
#include "wal/page.h"
#include "wal/record_verifier.h"

namespace weir::restore {

namespace {

using archive::SegmentFileName;
using codec::Method;

/// In this order a segment can be found at every moment: whoever converts an archive publishes the
/// .zst before the other form goes.
constexpr std::array kForms = {Method::none, Method::gzip, Method::lz4, Method::zstd};

/// How often the whole look is repeated when the archive changes under it.
constexpr int kLooks = 5;

/// One request. Members are looked up when they are first needed: a segment that is there is
/// delivered without the directory being listed, however many files it has.
class Restorer {
 public:
  Restorer(io::Directory& archive, io::Directory& target_directory, std::string target_name,
           const Options& options, Log& log)
      : archive_(archive),
        target_directory_(target_directory),
        target_name_(std::move(target_name)),
        options_(options),
        log_(log) {}

  Result restore(const wal::SegmentName& segment);
  Result restore(const HistoryRequest& request);
  Result restore(const BackupHistoryRequest& request);
  std::optional<Fetched> fetch(wal::SegmentName segment, Output& output);
  bool accept(const Fetched& fetched, io::File& content);

 private:
  std::optional<wal::SegmentSize> restore_finished(wal::SegmentName segment);
  wal::SegmentSize deliver(const SegmentFileName& name);
  Fetched check(const SegmentFileName& name, Output& output, bool look_back);
  void require_agreement(const Fetched& checked);
  [[nodiscard]] bool only_form(const SegmentFileName& name);
  Result restore_absent(wal::SegmentName segment);
  Result restore_partial(wal::SegmentName segment, wal::SegmentSize size, std::string why);
  bool server_has(wal::SegmentName segment, wal::SegmentSize size);
  Result absent(const Absence& absence, const std::string& file);

  wal::SegmentSize size_of(const SegmentFileName& name, const wal::PageHeader& first_page);
  std::uint64_t expected_system_identifier();
  std::optional<std::uint64_t> identifier_of_witness(const SegmentFileName& name,
                                                     const wal::PageHeader& first_page);
  std::uint64_t identifier_for(const SegmentFileName& name, const wal::PageHeader& first_page);
  bool restored_last_time(wal::Lsn start);
  void begin_reading_before(wal::SegmentName segment, wal::SegmentSize size,
                            wal::Lsn previous_record, const wal::TimelineHistory* history);
  void check_seam_of(const Fetched& segment, const ReadWal& content);
  std::optional<wal::TimelineHistory> history_of(wal::TimelineId timeline);
  void require_wal();
  void require_outside(const Target& target);
  [[nodiscard]] bool finished_form_exists(wal::SegmentName segment);
  [[nodiscard]] std::string path_of(const std::string& name) const;

  const archive::Listing& listing();
  const std::optional<archive::Identity>& identity();

  io::Directory& archive_;
  io::Directory& target_directory_;
  std::string target_name_;
  const Options& options_;
  Log& log_;
  std::optional<archive::Listing> listing_;
  std::optional<std::optional<archive::Identity>> identity_;
  std::optional<std::uint64_t> identifier_;  ///< that what is restored has to have

  /// The end of the segment before, from the page on in which the record over the border begins.
  struct Before {
    wal::SegmentName segment;
    std::uint64_t offset = 0;
    std::shared_future<std::vector<std::byte>> bytes;
  };
  std::optional<Before> before_;
};

/// Where a .partial is sound to, and what comes behind.
struct PartialScan {
  std::uint64_t bytes = 0;      ///< of the file
  wal::Lsn cut;                 ///< end of the last complete record; 0/0: there is none
  bool complete = false;        ///< sound up to the segment's end
  std::optional<Error> damage;  ///< what ends it, if that is not its natural end
};

/// What is sound of a .partial. Zeros behind the last record are its natural end, and so is a
/// compressed stream that breaks off; WAL behind a place that is not sound is not.
class PartialScanner {
 public:
  PartialScanner(wal::RecordVerifier& verifier, wal::SegmentSize size, wal::Lsn start)
      : verifier_(verifier), size_(size), start_(start) {}

  void take(std::span<const std::byte> wal);
  [[nodiscard]] PartialScan result() const;

 private:
  wal::RecordVerifier& verifier_;
  wal::SegmentSize size_;
  wal::Lsn start_;
  std::uint64_t bytes_ = 0;
  std::vector<std::byte> page_;  ///< header of the page that begins, as far as it has come
  std::uint32_t continued_ = 0;  ///< bytes of the record that the segment begins in
  std::optional<wal::Damage> damage_;
  std::optional<wal::Lsn> wal_behind_;  ///< page of this segment behind the damage
};

wal::Lsn end_of_continued_record(wal::Lsn segment_start, std::uint32_t remaining);

/// What is in a file or a target, from an offset on, for check_seam().
template <typename Content>
ReadWal content_of(Content& content) {
  return [&content](wal::Lsn, std::uint64_t offset, const codec::Sink& sink) {
    std::array<std::byte, 2 * wal::kPageSize> buffer;
    while (const auto count = content.read_at(offset, buffer)) {
      sink(std::span(buffer).first(count));
      offset += count;
    }
    return true;
  };
}

Error damage_error(const wal::Damage& damage, const std::string& path, wal::SegmentSize size) {
  return Error(ErrorKind::damage, "damaged WAL: " + damage.what)
      .with("file", path)
      .with("offset in the segment", size.offset(damage.found_at))
      .with("LSN", damage.at)
      .hint(
          "The file is not what was archived under this name: put a sound copy in its place. If it "
          "was copied out of the pg_wal of a lost server, its end may be unwritten: rename it to "
          "<name>.partial and add --partial, and what is sound of it is restored.");
}

}  // namespace

Result restore_file(io::Directory& archive, const Request& request, io::Directory& target_directory,
                    const std::string& target_name, const Options& options, Log& log) {
  Restorer restorer(archive, target_directory, target_name, options, log);
  return std::visit([&](const auto& asked) { return restorer.restore(asked); }, request);
}

namespace {

/// What would have been told stops a fetch: the one who is asked for the segment tells it.
class RefusingLog final : public Log {
 public:
  void write(LogLevel, std::string_view message) override {
    throw Error(ErrorKind::retry, std::string(message));
  }
  bool enabled(LogLevel level) const override { return level >= LogLevel::warning; }
};

}  // namespace

std::optional<Fetched> fetch_segment(io::Directory& archive, wal::SegmentName segment,
                                     Output& output, const Options& options) {
  RefusingLog log;
  // The target directory is asked for nothing here.
  Restorer restorer(archive, archive, {}, options, log);
  return restorer.fetch(segment, output);
}

bool compare_with_before(io::Directory& archive, Fetched& fetched, io::File& content,
                         const Fetched& before, io::File& content_before) {
  if (!fetched.previous_record.valid()) return true;
  const auto start = fetched.source.segment.start(fetched.size);
  const auto timeline = fetched.source.segment.timeline();
  std::optional<wal::TimelineHistory> history(timeline);
  if (timeline != 1) {
    const auto text = read_history_file(archive, timeline);
    history = text ? wal::TimelineHistory::parse(timeline, *text) : std::nullopt;
  }
  const Seam seam{.segment_start = start,
                  .first_record = fetched.first_record,
                  .previous_record = fetched.previous_record,
                  .segment_size = fetched.size,
                  .timeline = timeline,
                  .history = history ? &*history : nullptr};
  const ReadWal earlier = [&](wal::Lsn at, std::uint64_t offset, const codec::Sink& sink) {
    return at == before.source.segment.start(before.size) &&
           content_of(content_before)(at, offset, sink);
  };
  const auto result = check_seam(seam, earlier, content_of(content));
  if (result.verdict == SeamVerdict::fits) {
    fetched.before = before.source;
    fetched.before_identity = before.identity;
  }
  return result.verdict != SeamVerdict::broken;
}

bool accept_fetched(io::Directory& archive, const Fetched& fetched, io::File& content,
                    io::Directory& target_directory, const std::string& target_name,
                    const Options& options) {
  RefusingLog log;
  Restorer restorer(archive, target_directory, target_name, options, log);
  return restorer.accept(fetched, content);
}

namespace {

// ---- segments

Result Restorer::restore(const wal::SegmentName& segment) {
  for (int look = 0; look < kLooks; ++look) {
    if (const auto size = restore_finished(segment)) return {true, {}, size};
    listing_.reset();
    identity_.reset();
    Result result = restore_absent(segment);
    if (result.restored) return result;
    // A receiver may have finished it meanwhile, and a listing shows a file that is renamed while
    // it is read under both names or under none.
    if (!finished_form_exists(segment)) return result;
  }
  throw Error(ErrorKind::retry, "the segment's file changes its form again and again")
      .with("segment", segment)
      .with("directory", archive_.path());
}

/// nullopt if there is no finished form. Throws the first form's error if none is sound.
std::optional<wal::SegmentSize> Restorer::restore_finished(wal::SegmentName segment) {
  std::optional<Error> first_error;
  std::string told;
  for (const Method method : kForms) {
    const SegmentFileName name{segment, method, false};
    if (!archive_.find(name.to_string())) continue;
    try {
      const auto size = deliver(name);
      if (first_error) {
        log_.error(*first_error);
        log_.warning("{} was restored from its other, sound form {}", segment, name.to_string());
      }
      return size;
    } catch (const TargetError&) {
      throw;
    } catch (const Error& error) {
      // Compressed or removed by another process while it was being read: it has another form now.
      if (!archive_.find(name.to_string())) continue;
      if (!first_error) first_error = error;
    }
  }
  if (first_error) throw *first_error;
  return std::nullopt;
}

wal::SegmentSize Restorer::deliver(const SegmentFileName& name) {
  Target target(target_directory_, target_name_);
  require_outside(target);
  const auto checked = check(name, target, !options_.system_identifier);
  check_seam_of(checked, content_of(target));
  require_agreement(checked);
  target.publish();
  return checked.size;
}

/// Where a segment has two forms that are both sound, and different: one of them is of another
/// history, and nothing tells which.
void Restorer::require_agreement(const Fetched& checked) {
  if (checked.records_end == 0) return;  // nothing was looked into
  class Nowhere final : public Output {
   public:
    void expect(std::uint64_t) override {}
    void append(std::span<const std::byte>) override {}
    std::size_t read_at(std::uint64_t, std::span<std::byte>) override { return 0; }
    [[nodiscard]] std::uint64_t size() const override { return 0; }
  };
  for (const Method method : kForms) {
    const SegmentFileName other{checked.source.segment, method, false};
    if (other == checked.source || !archive_.find(other.to_string())) continue;
    std::optional<std::uint64_t> difference;
    try {
      difference = archive::first_difference(archive_, checked.source, other, checked.size,
                                             checked.records_end);
      if (!difference) continue;
      Nowhere nowhere;
      static_cast<void>(check(other, nowhere, false));
    } catch (const Error&) {
      continue;  // the other one is not sound, or gone
    }
    throw Error(ErrorKind::conflict, "two forms of the segment are sound and differ")
        .with("file", path_of(checked.source.to_string()))
        .with("and", path_of(other.to_string()))
        .with("offset in the segment", *difference)
        .hint(
            "One of them is of another history of the cluster (a server that was promoted without "
            "a timeline of its own, an archive that two servers wrote to). Move the wrong one "
            "away: pgweir verify tells which of them the segments before and behind go with.");
  }
}

/// All that one segment's file can tell of itself.
Fetched Restorer::check(const SegmentFileName& name, Output& output, bool look_back) {
  const auto path = path_of(name.to_string());
  const auto first_page = archive::read_first_page_header(archive_, name);
  if (!first_page)
    throw Error(ErrorKind::damage, "damaged WAL: expected a segment's first page header")
        .with("file", path)
        .with("offset in the segment", 0);
  const auto size = size_of(name, *first_page);
  const auto start = name.segment.start(size);
  Fetched checked{.source = name, .identity = {}, .size = size};
  if (!options_.verify) {
    archive::read_segment(archive_, name, size, [&](auto wal) { output.append(wal); });
    return checked;
  }

  const auto history = history_of(name.segment.timeline());
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = name.segment.timeline(),
                                .system_identifier = expected_system_identifier(),
                                .history = history ? &*history : nullptr},
                               start);
  output.expect(size.bytes());
  archive::read_segment(archive_, name, size, [&](std::span<const std::byte> wal) {
    if (const auto damage = verifier.feed(wal)) throw damage_error(*damage, path, size);
    output.append(wal);
    if (look_back && verifier.first_record_previous().valid()) {
      look_back = false;
      begin_reading_before(name.segment, size, verifier.first_record_previous(),
                           history ? &*history : nullptr);
    }
  });
  if (verifier.unchecked()) {
    log_.warning("{}: WAL of a newer server than this pgweir knows, restored unchecked",
                 name.to_string());
    return checked;
  }
  checked.first_record = verifier.first_record_start();
  checked.previous_record = verifier.first_record_previous();
  checked.records_end = verifier.inside_record() || !verifier.last_record_end().valid()
                            ? size.bytes()
                            : verifier.last_record_end() - start;
  return checked;
}

std::optional<Fetched> Restorer::fetch(wal::SegmentName segment, Output& output) {
  for (const Method method : kForms) {
    const SegmentFileName name{segment, method, false};
    const auto identity = archive_.identity_of(name.to_string());
    if (!identity) continue;
    auto fetched = check(name, output, false);
    if (archive_.identity_of(name.to_string()) != identity)
      throw Error(ErrorKind::retry, "the segment's file changed while it was read")
          .with("file", path_of(name.to_string()));
    fetched.identity = *identity;
    // Two forms are to be compared: that is for the one who can tell what comes of it.
    if (!only_form(name)) return std::nullopt;
    return fetched;
  }
  return std::nullopt;
}

bool Restorer::accept(const Fetched& fetched, io::File& content) {
  const auto whole = [&](const SegmentFileName& name, const io::FileIdentity& identity) {
    return archive_.identity_of(name.to_string()) == identity;
  };
  if (!whole(fetched.source, fetched.identity) || content.size() != fetched.size.bytes() ||
      archive_.identity() == target_directory_.identity() || !only_form(fetched.source))
    return false;
  const bool fits_the_archive = fetched.before && whole(*fetched.before, fetched.before_identity);
  if (options_.system_identifier || !fits_the_archive) check_seam_of(fetched, content_of(content));

  if (target_directory_.give_name(content, target_name_)) return true;
  // Something stands there. PostgreSQL takes it away before it asks, others may not.
  const auto hidden = Target::temporary_name_of(target_name_);
  target_directory_.remove(hidden);
  if (!target_directory_.give_name(content, hidden)) return false;
  try {
    target_directory_.rename_replace(hidden, target_name_);
  } catch (const Error&) {
    target_directory_.remove(hidden);
    return false;
  }
  return true;
}

wal::SegmentSize Restorer::size_of(const SegmentFileName& name, const wal::PageHeader& page) {
  const auto path = path_of(name.to_string());
  const auto expected = options_.verify ? identifier_for(name, page) : 0;
  if (expected != 0 && page.system_identifier != expected)
    throw Error(ErrorKind::conflict, "WAL of another cluster")
        .with("file", path)
        .with("system identifier expected", expected)
        .with("found", page.system_identifier)
        .hint(
            "Is this the archive of the server that is being recovered? If all its other segments "
            "fit, this one file was put there by mistake or is damaged.");
  const auto size = wal::SegmentSize::of(page.segment_size);
  if (!size)
    throw Error(ErrorKind::damage, "damaged WAL: impossible segment size in the first page header")
        .with("file", path)
        .with("found", page.segment_size);
  if (!name.segment.fits(*size))
    throw Error(ErrorKind::damage, "no segment has this name with this segment size")
        .with("file", path)
        .with("segment size", size->bytes());
  return *size;
}

/// 0 if nothing tells.
std::uint64_t Restorer::expected_system_identifier() {
  if (options_.system_identifier) return *options_.system_identifier;
  if (identifier_) return *identifier_;
  const auto& found = identity();
  return found ? found->system_identifier : 0;
}

/// Whose WAL a segment with this first page has to be. Where no server tells, another segment of
/// the timeline is asked, and only if the two contradict each other the whole archive: to list it
/// takes the longer the more it holds.
std::uint64_t Restorer::identifier_for(const SegmentFileName& name, const wal::PageHeader& page) {
  if (options_.system_identifier) return *options_.system_identifier;
  const auto witness = identifier_of_witness(name, page);
  if (witness == page.system_identifier) return *(identifier_ = witness);
  const auto& found = identity();
  if (witness && found && found->file == name.to_string())
    throw Error(ErrorKind::conflict, "the archive holds WAL of two clusters")
        .with("file", path_of(name.to_string()))
        .with("system identifier", page.system_identifier)
        .with("that of an earlier segment", *witness)
        .hint(
            "Which of them is wanted is known where a server recovers into a data directory. Move "
            "the files of the other cluster away.");
  return found ? found->system_identifier : 0;
}

/// Of the segment farthest from this one that can be found in steps that double: the newest one, if
/// there is no gap. Behind this one, or else before it.
std::optional<std::uint64_t> Restorer::identifier_of_witness(const SegmentFileName& name,
                                                             const wal::PageHeader& page) {
  const auto size = wal::SegmentSize::of(page.segment_size);
  if (!size || !name.segment.fits(*size)) return std::nullopt;
  const auto segno = name.segment.segno(*size);
  const auto found_at = [&](std::uint64_t number) -> std::optional<SegmentFileName> {
    for (const Method method : kForms) {
      const SegmentFileName other{wal::SegmentName(name.segment.timeline(), number, *size), method,
                                  false};
      const auto entry = archive_.find(other.to_string());
      if (entry && entry->type == io::DirectoryEntry::Type::file && entry->size > 0) return other;
    }
    return std::nullopt;
  };
  constexpr std::uint64_t kFarthest = std::uint64_t{1} << 24;
  std::optional<SegmentFileName> witness;
  for (std::uint64_t step = 1; step <= kFarthest; step *= 2) {
    auto other = found_at(segno + step);
    if (!other) break;
    witness = std::move(other);
  }
  if (!witness)
    for (std::uint64_t step = 1; step <= kFarthest && step <= segno; step *= 2) {
      auto other = found_at(segno - step);
      if (!other) break;
      witness = std::move(other);
    }
  if (!witness) return std::nullopt;
  try {
    const auto header = archive::read_first_page_header(archive_, *witness);
    if (header) return header->system_identifier;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage && error.kind() != ErrorKind::io) throw;
  }
  return std::nullopt;
}

/// True if what stands under the target's name begins like the segment at `start`.
bool Restorer::restored_last_time(wal::Lsn start) {
  const auto entry = target_directory_.find(target_name_);
  if (!entry || entry->type != io::DirectoryEntry::Type::file) return false;
  const auto file = target_directory_.open_for_reading(target_name_);
  std::array<std::byte, wal::kLongHeaderSize> front{};
  if (!file || file->read_at(0, front) != front.size()) return false;
  const auto page = wal::decode_page_header(front);
  return page && page->address == start;
}

/// By hand, the archive's own copy of the segment before is asked for the record over the border.
/// To unpack it takes as long as this one: so it is done at the same time.
void Restorer::begin_reading_before(wal::SegmentName segment, wal::SegmentSize size,
                                    wal::Lsn previous_record, const wal::TimelineHistory* history) {
  const auto start = segment.start(size);
  const wal::Lsn page(previous_record.byte() & ~(wal::kPageSize - 1));
  if (page >= start || page + size.bytes() < start) return;
  const auto segno = size.segno(page);
  const wal::SegmentName before(
      history ? archive::timeline_of_segment(*history, segno, size) : segment.timeline(), segno,
      size);
  const auto there = target_directory_.find(before.to_string());
  if (there && there->size == size.bytes()) return;  // the quick way
  if (restored_last_time(size.start_of(page))) return;
  for (const Method method : kForms) {
    const SegmentFileName name{before, method, false};
    if (!archive_.find(name.to_string())) continue;
    if (method == Method::none) return;  // read from where it is wanted
    const auto offset = size.offset(page);
    const auto read = [this, name, size, offset] {
      std::vector<std::byte> bytes;
      std::uint64_t at = 0;
      archive::read_segment(archive_, name, size, [&](std::span<const std::byte> wal) {
        const auto skip = std::min<std::uint64_t>(offset > at ? offset - at : 0, wal.size());
        at += wal.size();
        bytes.insert(bytes.end(), wal.begin() + static_cast<std::ptrdiff_t>(skip), wal.end());
      });
      return bytes;
    };
    before_ = Before{before, offset, std::async(std::launch::async, read).share()};
    return;
  }
}

/// Only what the server has been given can reach it: if the segment before is not in its pg_wal,
/// its recovery begins behind the record that crosses the border. Called by hand, the archive's own
/// copy is what can be asked.
void Restorer::check_seam_of(const Fetched& segment, const ReadWal& content) {
  if (!segment.previous_record.valid()) return;
  const auto timeline = segment.source.segment.timeline();
  const auto size = segment.size;
  const auto history = history_of(timeline);
  const Seam seam{.segment_start = segment.source.segment.start(size),
                  .first_record = segment.first_record,
                  .previous_record = segment.previous_record,
                  .segment_size = size,
                  .timeline = timeline,
                  .history = history ? &*history : nullptr};

  const auto name_at = [&](wal::Lsn start) {
    const auto segno = size.segno(start);
    return wal::SegmentName(
        history ? archive::timeline_of_segment(*history, segno, size) : timeline, segno, size);
  };
  const ReadWal servers = [&](wal::Lsn start, std::uint64_t offset, const codec::Sink& sink) {
    const auto file = target_directory_.open_for_reading(name_at(start).to_string());
    if (!file || file->size() != size.bytes()) return false;
    return content_of(*file)(start, offset, sink);
  };
  // A record that goes on as it began proves itself: so what was restored last time may be asked.
  const ReadWal last_time = [&](wal::Lsn start, std::uint64_t offset, const codec::Sink& sink) {
    if (!restored_last_time(start)) return false;
    const auto file = target_directory_.open_for_reading(target_name_);
    return file && file->size() == size.bytes() && content_of(*file)(start, offset, sink);
  };
  const ReadWal archived = [&](wal::Lsn start, std::uint64_t offset, const codec::Sink& sink) {
    const auto asked = name_at(start);
    if (before_ && before_->segment == asked && before_->offset <= offset) {
      const std::span<const std::byte> bytes = before_->bytes.get();
      sink(bytes.subspan(std::min<std::uint64_t>(offset - before_->offset, bytes.size())));
      return true;
    }
    for (const Method method : kForms) {
      const SegmentFileName before{asked, method, false};
      if (method == Method::none) {
        const auto file = archive_.open_for_reading(before.to_string());
        if (!file) continue;
        return file->size() == size.bytes() && content_of(*file)(start, offset, sink);
      }
      if (!archive_.find(before.to_string())) continue;
      std::uint64_t at = 0;
      archive::read_segment(archive_, before, size, [&](std::span<const std::byte> wal) {
        const auto skip = std::min<std::uint64_t>(offset > at ? offset - at : 0, wal.size());
        at += wal.size();
        if (skip < wal.size()) sink(wal.subspan(skip));
      });
      return true;
    }
    return false;
  };

  auto result = check_seam(seam, servers, content);
  if (result.verdict == SeamVerdict::unknown && !options_.system_identifier && !before_ &&
      check_seam(seam, last_time, content).verdict == SeamVerdict::fits)
    return;
  // A file that lay in pg_wal since before the recovery may be another one's.
  if (result.verdict == SeamVerdict::broken ||
      (result.verdict == SeamVerdict::unknown && !options_.system_identifier)) {
    const auto again = check_seam(seam, archived, content);
    if (again.verdict != SeamVerdict::unknown) result = again;
  }
  if (result.verdict != SeamVerdict::broken) return;
  throw damage_error(*result.damage, path_of(segment.source.to_string()), size)
      .hint(fmt::format("The record at {} begins in the segment before ({}) and goes on in this "
                        "one: one of the two is not as it was written.",
                        seam.previous_record, name_at(size.start_of(seam.previous_record))));
}

// ---- what is not there

Result Restorer::restore_absent(wal::SegmentName segment) {
  require_wal();
  const auto& found = identity();
  if (!found) {
    // Nothing but .partial files into which nothing was written yet.
    return {false, "there is no WAL in the archive yet"};
  }
  if (!segment.fits(found->segment_size))
    throw Error(ErrorKind::conflict, "no segment has this name with the archive's segment size")
        .with("segment", segment)
        .with("segment size", found->segment_size.bytes())
        .with("read from", found->file);
  const auto timelines = archive::Timelines::read(archive_, listing());
  const auto absence = judge_absent_segment(segment, listing(), timelines, found->segment_size);
  if (const auto* gap = std::get_if<Gap>(&absence)) {
    // Not while it is being renamed.
    if (finished_form_exists(segment)) return {false, gap->what};
    // Recovery takes its own where the archive has none: a standby that was made with its first
    // segments, or that restarts after the archive was pruned.
    if (server_has(segment, found->segment_size))
      return {false, gap->what + "; but the server has a sound one in its pg_wal"};
    return absent(absence, segment.to_string());
  }
  auto why = std::get<Absent>(absence).why;
  if (options_.partial) return restore_partial(segment, found->segment_size, std::move(why));
  return {false, std::move(why)};
}

Result Restorer::restore_partial(wal::SegmentName segment, wal::SegmentSize size, std::string why) {
  const auto start = segment.start(size);
  const auto timeline = segment.timeline();
  const auto history = history_of(timeline);
  const auto make_verifier = [&] {
    return wal::RecordVerifier({.segment_size = size,
                                .timeline = timeline,
                                .system_identifier = expected_system_identifier(),
                                .history = history ? &*history : nullptr},
                               start);
  };

  std::optional<SegmentFileName> best;
  PartialScan best_scan;
  std::optional<wal::RecordVerifier> best_verifier;
  for (const Method method : kForms) {
    const SegmentFileName name{segment, method, true};
    const auto path = path_of(name.to_string());
    if (!archive_.find(name.to_string())) continue;
    if (const auto page = archive::read_first_page_header(archive_, name)) size_of(name, *page);
    auto verifier = make_verifier();
    PartialScanner scanner(verifier, size, start);
    std::optional<Error> broken;
    try {
      archive::read_segment(archive_, name, size, [&](auto wal) { scanner.take(wal); });
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::damage) throw;
      broken = error;
    }
    auto scan = scanner.result();
    if (broken)
      scan.damage = broken;
    else if (scan.damage)
      scan.damage->with("file", path);
    if (!best || scan.cut > best_scan.cut || (scan.cut == best_scan.cut && best_scan.damage)) {
      best = name;
      best_scan = std::move(scan);
      best_verifier.emplace(verifier);
    }
  }
  if (!best) return {false, std::move(why)};

  const auto path = path_of(best->to_string());
  if (best_scan.damage && !options_.partial_damaged)
    throw std::move(*best_scan.damage)
        .hint(fmt::format(
            "The unfinished segment is sound up to {}; WAL is there behind the damage, which would "
            "be lost. If there is no better copy, --partial-damaged hands out what is before it.",
            best_scan.cut));
  if (best_scan.damage) log_.error(*best_scan.damage);

  // The next one may have been begun before this one got its final name: then it must be whole.
  const auto timelines = archive::Timelines::read(archive_, listing());
  const auto* const later = find_later(segment, listing(), timelines, size, true);
  std::uint64_t keep = 0;
  if (best_scan.complete && later != nullptr) {
    keep = size.bytes();
  } else {
    if (later != nullptr)
      return absent(Gap{fmt::format("{} ends at {}, but later WAL is there, too ({})",
                                    best->to_string(), best_scan.cut, later->name.to_string())},
                    segment.to_string());
    auto cut = best_scan.cut;
    // A descendant of which nothing was archived yet: recovery may be on its way to it, and this
    // timeline's WAL behind the switchpoint is none of it.
    for (const auto descendant : timelines.descendants(timeline)) {
      const auto end = timelines.history(descendant)->end_of(timeline);
      const bool archived = std::any_of(
          listing().segments.begin(), listing().segments.end(),
          [&](const auto& entry) { return entry.name.segment.timeline() == descendant; });
      if (archived || !end || size.segno(*end) != segment.segno(size) || *end >= cut) continue;
      log_.warning("{}: what timeline {} wrote behind {}, where timeline {} left it, is left out",
                   best->to_string(), timeline, *end, descendant);
      cut = *end;
    }
    if (cut.valid()) keep = cut - start;
  }
  if (keep == 0) return {false, "no record is complete in " + best->to_string()};

  Target target(target_directory_, target_name_);
  require_outside(target);
  try {
    archive::read_segment(archive_, *best, size, [&](std::span<const std::byte> wal) {
      target.append(wal.first(std::min<std::uint64_t>(wal.size(), keep - target.size())));
    });
  } catch (const TargetError&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::damage || target.size() < keep) throw;
  }
  if (target.size() < keep)
    throw Error(ErrorKind::retry, "the unfinished segment became shorter while it was read")
        .with("file", path);
  target.append_zeros(size.bytes() - keep);
  check_seam_of({.source = *best,
                 .identity = {},
                 .size = size,
                 .first_record = best_verifier->first_record_start(),
                 .previous_record = best_verifier->first_record_previous()},
                content_of(target));
  target.publish();
  log_.warning("{} was restored from the unfinished {}: WAL up to {}", segment, best->to_string(),
               start + keep);
  return {true, {}};
}

/// True if the server that recovers has the whole segment in its own pg_wal, sound to its end.
bool Restorer::server_has(wal::SegmentName segment, wal::SegmentSize size) {
  if (!options_.system_identifier) return false;
  const auto entry = target_directory_.find(segment.to_string());
  if (!entry || entry->type != io::DirectoryEntry::Type::file || entry->size != size.bytes())
    return false;
  const auto history = history_of(segment.timeline());
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = segment.timeline(),
                                .system_identifier = *options_.system_identifier,
                                .history = history ? &*history : nullptr},
                               segment.start(size));
  std::optional<wal::Damage> damage;
  archive::read_segment(target_directory_, {segment, Method::none, false}, size,
                        [&](auto wal) { damage = verifier.feed(wal); });
  return !damage && !verifier.unchecked();
}

Result Restorer::absent(const Absence& absence, const std::string& file) {
  if (const auto* fine = std::get_if<Absent>(&absence)) return {false, fine->why};
  const auto& what = std::get<Gap>(absence).what;
  if (options_.gap_is_absence) {
    log_.warning("{} is missing in the archive: {}; told as absent (--on-gap absent)", file, what);
    return {false, what};
  }
  throw Error(ErrorKind::gap, fmt::format("{} is missing in the archive: {}", file, what))
      .with("directory", archive_.path())
      .hint(
          "A recovery that went on without it would end too early and open the database with data "
          "missing. Look for the file on the server that wrote it (pg_wal) or in another archive "
          "and put it here; or set a recovery target before it. For a standby that can stream what "
          "is missing: --on-gap absent.");
}

/// Nothing is written into an archive by a restore. Whatever its path is: the hidden file shows.
void Restorer::require_outside(const Target& target) {
  if (archive_.find(target.temporary_name()))
    throw Error(ErrorKind::usage, "the file would be restored into the archive itself")
        .with("directory", archive_.path());
}

void Restorer::require_wal() {
  if (!listing().segments.empty() || options_.empty_is_absence) return;
  throw Error(ErrorKind::gap, "there is no WAL at all in the archive directory")
      .with("directory", archive_.path())
      .hint(
          "Is its file system mounted, and is it the right directory? If an empty archive is as it "
          "should be (for a standby that streams): --allow-empty.");
}

// ---- histories

Result Restorer::restore(const HistoryRequest& request) {
  const auto name = wal::history_name(request.timeline);
  require_wal();
  if (options_.system_identifier)
    static_cast<void>(identity());  // a history does not say whose it is
  const auto timelines = archive::Timelines::read(archive_, listing());
  if (const auto content =
          read_checked_history(archive_, request.timeline, listing(), timelines, options_.verify)) {
    Target target(target_directory_, target_name_);
    require_outside(target);
    target.append(std::as_bytes(std::span(content->data(), content->size())));
    target.publish();
    return {true, {}};
  }
  return absent(judge_absent_history(request.timeline, listing(), timelines), name);
}

Result Restorer::restore(const BackupHistoryRequest& request) {
  const auto file = archive_.open_for_reading(request.name);
  if (!file) {
    require_wal();
    return {false, "the archive does not have it"};
  }
  std::vector<std::byte> content(file->size());
  if (file->read_at(0, content) != content.size() || content.empty())
    throw Error(ErrorKind::damage, "the backup history file is empty or changes")
        .with("file", path_of(request.name));
  Target target(target_directory_, target_name_);
  require_outside(target);
  target.append(content);
  target.publish();
  return {true, {}};
}

// ---- the archive

std::optional<wal::TimelineHistory> Restorer::history_of(wal::TimelineId timeline) {
  if (timeline == 1) return wal::TimelineHistory(1);
  const auto content = read_history_file(archive_, timeline);
  if (!content) return std::nullopt;
  auto history = wal::TimelineHistory::parse(timeline, *content);
  if (!history)
    log_.warning("{} in the archive is no valid timeline history", wal::history_name(timeline));
  return history;
}

bool Restorer::finished_form_exists(wal::SegmentName segment) {
  return std::any_of(kForms.begin(), kForms.end(), [&](Method method) {
    return archive_.find(SegmentFileName{segment, method, false}.to_string()).has_value();
  });
}

bool Restorer::only_form(const SegmentFileName& name) {
  return std::none_of(kForms.begin(), kForms.end(), [&](Method method) {
    return method != name.method &&
           archive_.find(SegmentFileName{name.segment, method, false}.to_string());
  });
}

std::string Restorer::path_of(const std::string& name) const {
  const auto& directory = archive_.path();
  return directory.ends_with('/') ? directory + name : directory + "/" + name;
}

const archive::Listing& Restorer::listing() {
  if (!listing_) listing_ = archive::list_archive(archive_);
  return *listing_;
}

const std::optional<archive::Identity>& Restorer::identity() {
  if (!identity_) {
    identity_ = archive::read_identity(archive_, listing());
    const auto& found = *identity_;
    if (found && options_.system_identifier &&
        found->system_identifier != *options_.system_identifier)
      throw Error(ErrorKind::conflict, "the archive holds WAL of another cluster")
          .with("directory", archive_.path())
          .with("system identifier expected", *options_.system_identifier)
          .with("found", found->system_identifier)
          .with("read from", found->file)
          .hint("restore_command names the archive of another server.");
  }
  return *identity_;
}

// ---- .partial

void PartialScanner::take(std::span<const std::byte> wal) {
  if (!damage_) damage_ = verifier_.feed(wal);
  // Page headers: of the first page, what goes on in it; behind the damage, whether WAL of this
  // segment is there. What a recycled file holds has other addresses.
  while (!wal.empty()) {
    const auto in_page = bytes_ % wal::kPageSize;
    if (in_page < wal::kShortHeaderSize) {
      if (in_page == 0) page_.clear();
      const auto count = std::min<std::size_t>(wal::kShortHeaderSize - in_page, wal.size());
      page_.insert(page_.end(), wal.begin(), wal.begin() + static_cast<std::ptrdiff_t>(count));
      bytes_ += count;
      wal = wal.subspan(count);
      if (page_.size() < wal::kShortHeaderSize) continue;
      const auto at = start_ + (bytes_ - wal::kShortHeaderSize);
      page_.resize(wal::kLongHeaderSize);  // the long part is of no interest
      const auto page = wal::decode_page_header(page_);
      if (!page || page->address != at) continue;
      if (at == start_ && page->first_is_continuation()) continued_ = page->remaining;
      if (damage_ && at > damage_->found_at && !wal_behind_) wal_behind_ = at;
    } else {
      const auto count = std::min<std::size_t>(wal::kPageSize - in_page, wal.size());
      bytes_ += count;
      wal = wal.subspan(count);
    }
  }
}

PartialScan PartialScanner::result() const {
  PartialScan scan;
  scan.bytes = bytes_;
  scan.complete = !damage_ && bytes_ == size_.bytes();
  scan.cut = verifier_.last_record_end();
  if (!scan.cut.valid() && continued_ != 0) {
    // Perhaps only the record that it begins in came to its end.
    const auto end = end_of_continued_record(start_, continued_);
    if (end <= verifier_.position()) scan.cut = end;
  }
  if (verifier_.unchecked()) scan.cut = start_ + bytes_;
  if (damage_ && wal_behind_)
    scan.damage = Error(ErrorKind::damage, "damaged WAL: " + damage_->what)
                      .with("offset in the segment", size_.offset(damage_->found_at))
                      .with("LSN", damage_->at)
                      .with("more WAL behind it, from", *wal_behind_);
  return scan;
}

wal::Lsn end_of_continued_record(wal::Lsn segment_start, std::uint32_t remaining) {
  auto at = segment_start + wal::kLongHeaderSize;
  std::uint64_t left = remaining;
  for (;;) {
    const auto room = wal::kPageSize - at.byte() % wal::kPageSize;
    if (left <= room) break;
    left -= room;
    at = at + room + wal::kShortHeaderSize;
  }
  return wal::Lsn((at.byte() + left + 7) & ~std::uint64_t{7});
}

}  // namespace

// ---- by paths

namespace {

/// What an error may pass by itself: a network file system that hangs or comes back, or a machine
/// short of something for a moment.
bool may_pass(const Error& error) {
  if (dynamic_cast<const TargetError*>(&error) != nullptr) return false;
  if (error.kind() == ErrorKind::retry) return true;
  switch (error.system_code()) {
    case EIO:
    case ESTALE:
    case EINTR:
    case EAGAIN:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ECONNRESET:
    case ENOTCONN:
    case EREMOTEIO:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return true;
    default:
      return false;
  }
}

struct SplitPath {
  std::string parent;  ///< "." if there is none
  std::string name;
};

/// By name alone: pg_wal may be a link to elsewhere, and its parent is meant by name.
SplitPath split(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return {".", path};
  const auto last = path.find_last_not_of('/', slash);
  return {last == std::string::npos ? "/" : path.substr(0, last + 1), path.substr(slash + 1)};
}

/// The first eight bytes of pg_control (ControlFileData in catalog/pg_control.h) in the data
/// directory that `pg_wal` lies in; nullopt if it lies in none.
std::optional<std::uint64_t> system_identifier_beside(const std::string& pg_wal) {
  const auto [data, name] = split(pg_wal);
  if (name != "pg_wal") return std::nullopt;
  std::unique_ptr<io::Directory> global;
  try {
    global = io::open_directory(data + "/global");
  } catch (const Error& error) {
    if (error.system_code() == ENOENT || error.system_code() == ENOTDIR) return std::nullopt;
    throw;
  }
  const auto file = global->open_for_reading("pg_control");
  std::array<std::byte, sizeof(std::uint64_t)> bytes{};
  std::uint64_t identifier = 0;
  if (!file || file->read_at(0, bytes) != bytes.size()) return std::nullopt;
  std::memcpy(&identifier, bytes.data(), bytes.size());
  return identifier == 0 ? std::nullopt : std::optional(identifier);
}

}  // namespace

Result run_restore_command(const std::string& archive, std::string_view file,
                           const std::string& target, Options options, Prefetch prefetch,
                           std::chrono::milliseconds patience, Log& log) {
  const auto request = parse_request(file);
  const auto [parent, target_name] = split(target);
  if (target_name.empty() || target_name == "." || target_name == "..")
    throw Error(ErrorKind::usage, fmt::format("\"{}\" names no file to restore to", target));
  if (!options.system_identifier) options.system_identifier = system_identifier_beside(parent);

  // Somebody may have it ready. If not, or if anything about that is strange, it is fetched here.
  const auto* const segment = std::get_if<wal::SegmentName>(&request);
  bool helper = false;
  if (segment != nullptr && prefetch.segments > 0) {
    const auto taken = take_prefetched(archive, *segment, parent, target_name, options);
    if (taken.restored) return {.restored = true, .why = {}, .prefetched = true};
    helper = taken.helper_runs;
  }

  const auto deadline = std::chrono::steady_clock::now() + patience;
  auto pause = std::chrono::milliseconds(50);
  for (;;) {
    try {
      // Opened anew each time: a handle of a network file system may be stale.
      const auto directory = io::open_directory(archive);
      const auto target_directory = io::open_directory(parent);
      auto result = restore_file(*directory, request, *target_directory, target_name, options, log);
      if (segment != nullptr && result.segment_size && prefetch.segments > 0 && !helper)
        start_prefetcher(archive, *segment, *result.segment_size, parent, options, prefetch);
      return result;
    } catch (const Error& error) {
      if (!may_pass(error) || std::chrono::steady_clock::now() + pause > deadline) throw;
      log.warning("{}; trying again", error.what());
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(1000));
  }
}

}  // namespace weir::restore
