#include "restore/segment_check.h"

#include <algorithm>
#include <array>
#include <future>
#include <map>
#include <set>
#include <span>

#include "archive/compare.h"
#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "archive/wal_reader.h"
#include "restore/content_source.h"
#include "restore/history.h"
#include "restore/long_record.h"
#include "wal/continued_record.h"
#include "wal/page.h"
#include "wal/record_verifier.h"
#include "wal/records.h"

namespace weir::restore {

using archive::WalSource;
using codec::Method;

namespace {

/// nullopt if there is none.
std::optional<wal::PageHeader> first_page_of(WalSource& content, wal::Lsn start) {
  std::array<std::byte, wal::kLongHeaderSize> bytes{};
  for (std::size_t have = 0; have < bytes.size();) {
    const auto read = content.read(start + have, std::span(bytes).subspan(have));
    if (read.state != WalSource::State::bytes) return std::nullopt;
    have += read.count;
  }
  return wal::decode_page_header(bytes);
}

Error damage_error(const wal::Damage& damage, const std::string& path, wal::SegmentSize size) {
  Error error(ErrorKind::damage, "damaged WAL: " + damage.what);
  error.with("file", path)
      .with("offset in the segment", size.offset(damage.found_at))
      .with("LSN", damage.at);
  if (damage.is_unwritten && size.offset(damage.found_at) < wal::kLongHeaderSize)
    return error.hint(
        "The file has no WAL of this segment. If it was copied from the pg_wal of a server, which "
        "prepares files for later use, move it out of the archive, and each later one of this kind "
        "(\"pgweir import\" leaves them out). Otherwise, \"pgweir import --replace-damaged\" "
        "replaces it with a valid copy.");
  return error.hint(
      "The file was changed after it was archived: \"pgweir import --replace-damaged\" "
      "replaces it with a valid copy. Without one, --up-to-damage in restore_command recovers "
      "everything before the damage. If it was copied from the pg_wal of a lost server, its "
      "end may be unwritten: rename it to <name>.partial and add --partial to restore its "
      "valid part.");
}

/// Notices where a recovery on this history will stop, although the WAL exists.
class MinimalWalWatch final : public wal::RecordObserver {
 public:
  bool wants(const wal::RecordHeader& header) override {
    return wal::is_xlog(header, wal::XlogRecord::parameter_change);
  }
  [[nodiscard]] bool needs_xlog_only() const override { return true; }
  void on_record(wal::Lsn start, wal::Lsn /*end*/, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (!begin && wants(header) && wal::sets_wal_level_minimal(body).value_or(false)) begin = start;
  }
  std::optional<wal::Lsn> begin;
};

}  // namespace

std::optional<Fetched> SegmentCheck::read(const Copy& copy, Output& output, Haste haste) {
  bool look_back = haste == Haste::also_before;
  const auto& name = copy.name;
  auto& facts = archives_.at(copy.archive);
  const auto path = archives_.path_of(copy);
  const auto first_page = archive::read_first_page_header(facts.directory(), name);
  if (!first_page)
    throw Error(ErrorKind::damage, "damaged WAL: expected a segment's first page header")
        .with("file", path)
        .with("offset in the segment", 0);
  const auto size = facts.size_of(name, *first_page);
  const auto start = name.segment.start(size);
  Fetched checked{.source = name, .archive = copy.archive, .identity = {}, .size = size};
  const auto read_segment = [&](const codec::Sink& sink) {
    if (haste == Haste::none) {
      archive::read_segment(facts.directory(), name, size, sink);
      return;
    }
    // Two segments to decompress, one on each CPU: a further thread would only add cost.
    const bool also_before = look_back && before_is_packed(copy, size);
    archive::read_segment_in_two_threads(
        facts.directory(), name, size, sink,
        also_before ? archive::Processor::kept_busy : archive::Processor::free);
  };
  bool wanted = true;
  if (!options_.verify) {
    read_segment([&](auto wal) { return wanted = output.append(wal); });
    return wanted ? std::optional(checked) : std::nullopt;
  }

  const auto history = history_of(name.segment.timeline(), copy.archive);
  MinimalWalWatch minimal_wal;
  wal::RecordVerifier verifier({.segment_size = size,
                                .timeline = name.segment.timeline(),
                                .system_identifier = facts.expected_system_identifier(),
                                .observer = &minimal_wal,
                                .history = history ? &*history : nullptr},
                               start);
  output.expect(size.bytes());
  std::optional<wal::Damage> damage;
  read_segment([&](std::span<const std::byte> wal) {
    damage = verifier.feed(wal);
    if (damage) return false;
    wanted = output.append(wal);
    if (look_back && verifier.first_record_previous().valid()) {
      look_back = false;
      begin_reading_before(copy, size, verifier.first_record_previous(),
                           history ? &*history : nullptr);
    }
    return wanted;
  });
  if (damage) throw damage_error(*damage, path, size);
  if (!wanted) return std::nullopt;
  if (verifier.unchecked()) {
    log_.warning(
        "{}: WAL of a newer PostgreSQL than this pgweir knows, restored without a full check",
        name.to_string());
    return checked;
  }
  if (minimal_wal.begin)
    log_.warning(
        "{}: the server wrote WAL with wal_level=minimal from {} on: no recovery can pass it, "
        "except from a base backup that started after wal_level was raised again",
        name.to_string(), *minimal_wal.begin);
  checked.first_record = verifier.first_record_start();
  checked.newest_record = verifier.newest_record_start();
  checked.ends_inside_record = verifier.inside_record();
  checked.previous_record = verifier.first_record_previous();
  checked.records_end = archive::meaningful_bytes(verifier, start, size);
  return checked;
}

/// A store would be queried once for each segment. The server already has the file: a recovery
/// starts with it.
std::optional<wal::TimelineHistory> SegmentCheck::history_of(wal::TimelineId timeline,
                                                             std::size_t archive) {
  if (options_.store && timeline > 1) {
    try {
      const auto content = read_history_file(target_directory_, timeline);
      auto history = content ? wal::TimelineHistory::parse(timeline, *content) : std::nullopt;
      if (history) return history;
    } catch (const Error&) {
      // The archives have it.
    }
  }
  return options_.first_sound ? archives_.at(archive).history_of(timeline)
                              : archives_.history_of(timeline);
}

template <typename Check>
SeamResult SegmentCheck::ask_archives(std::size_t first, const UnionReader::Options& along,
                                      Agreed agreed, Check check) {
  SeamResult told;
  // That one does not fit may be the fault of what it was compared with.
  const auto strongest = agreed == Agreed::by_one ? SeamVerdict::fits : SeamVerdict::broken;
  const auto ask = [&](WalSource& source) {
    const auto result = check(source);
    if (result.verdict == strongest || told.verdict == SeamVerdict::unknown) told = result;
    return told.verdict == strongest;
  };
  const auto ask_files = [&](std::size_t i, const std::set<std::string>& left_out,
                             std::map<wal::SegmentName, std::string>& files) {
    archive::WalReader reader(archives_.shelf(i), {.segment_size = along.segment_size,
                                                   .timeline = along.timeline,
                                                   .history = along.history,
                                                   .left_out = &left_out});
    AskedSource source([&](wal::Lsn at, std::span<std::byte> into) {
      if (before_ && before_->archive == i && left_out.empty())
        if (const auto read =
                read_before(reader.segment_at(at), along.segment_size.offset(at), into))
          return *read;
      auto read = reader.read(at, into);
      if (const auto file = reader.file()) files[file->segment] = file->to_string();
      return read;
    });
    return ask(source);
  };
  const auto ask_one = [&](std::size_t i) {
    std::map<wal::SegmentName, std::string> files;
    std::set<std::string> left_out;
    if (ask_files(i, left_out, files)) return true;
    if (agreed == Agreed::by_all || told.verdict != SeamVerdict::broken) return false;
    // Another file of a segment may be the valid one, which is restored when it is requested.
    for (const auto& [segment, file] : files)
      for (const auto& form : archive::finished_names(segment))
        if (form.to_string() != file && archives_.shelf(i).find(form.to_string()))
          left_out.insert(file);
    return !left_out.empty() && ask_files(i, left_out, files);
  };
  if (ask_one(first) || !archives_.several() || options_.first_sound) return told;
  // Local files need no store: a failing store must not block them.
  if (options_.store && first != *options_.store) return told;
  for (std::size_t i = 0; i < archives_.count(); ++i)
    if (i != first && !archives_.silent(i) && ask_one(i)) return told;
  UnionReader all(archives_, along);
  ask(all);
  return told;
}

void SegmentCheck::check_seam_of(const Fetched& segment, WalSource& content) {
  const auto timeline = segment.source.segment.timeline();
  const auto size = segment.size;
  const auto start_here = segment.source.segment.start(size);
  auto first_record = segment.first_record;
  if (!segment.previous_record.valid()) {
    if (segment.records_end == 0) return;  // nothing was checked
    // The record continued at its start may still end in it.
    const auto page = first_page_of(content, start_here);
    if (!page || !page->first_is_continuation()) return;
    first_record = wal::end_of_continued_record(start_here, page->remaining);
    if (first_record > start_here + segment.records_end) return;
  }
  const auto history = history_of(timeline, segment.archive);
  const Seam seam{.segment_start = start_here,
                  .first_record = first_record,
                  .previous_record = segment.previous_record,
                  .segment_size = size,
                  .timeline = timeline,
                  .history = history ? &*history : nullptr};

  const archive::WalReader::Options along{
      .segment_size = size, .timeline = timeline, .history = history};
  archive::WalReader servers(target_directory_, along);
  // A record that continues as it started is its own proof, so the file restored last can be used.
  AskedSource last_time([&](wal::Lsn at, std::span<std::byte> into) -> WalSource::Read {
    const auto start = size.start_of(at);
    if (!restored_last_time(start)) return {};
    const auto file = target_directory_.open_bytes(target_name_);
    if (!file || file->size() != size.bytes()) return {};
    return ContentSource(start, *file).read(at, into);
  });
  auto result = check_seam(seam, servers, content);
  // The server's file was most likely restored from one of the archives: if one of them agrees with
  // it, and another does not, they are of two histories.
  const auto agreed = result.verdict == SeamVerdict::broken ? Agreed::by_all : Agreed::by_one;
  const auto archived = [&] {
    return ask_archives(segment.archive,
                        {.segment_size = size, .timeline = timeline, .history = history}, agreed,
                        [&](WalSource& before) { return check_seam(seam, before, content); });
  };
  if (result.verdict == SeamVerdict::unknown && !options_.system_identifier && !before_ &&
      check_seam(seam, last_time, content).verdict == SeamVerdict::fits)
    return;
  // A file in pg_wal that is older than the recovery may be of another history.
  if (result.verdict == SeamVerdict::broken ||
      (result.verdict == SeamVerdict::unknown && !options_.system_identifier)) {
    auto again = archived();
    if (again.verdict == SeamVerdict::broken && before_) {
      // The part read is proven if it matches. If not, its own checksums are verified first.
      before_.reset();
      again = archived();
    }
    if (again.verdict != SeamVerdict::unknown) result = again;
  }
  if (result.verdict != SeamVerdict::broken) return;
  const auto record = seam.previous_record.valid() ? seam.previous_record : result.damage->at;
  throw damage_error(*result.damage, archives_.path_of(segment.copy()), size)
      .hint(fmt::format("The record at {} starts in the preceding segment ({}) and continues in "
                        "this one: one of the two is damaged. Without a valid copy, "
                        "--up-to-damage in restore_command recovers everything before the record.",
                        record, servers.segment_at(record)));
}

/// By names alone: a guess at what begin_reading_before() will do.
bool SegmentCheck::before_is_packed(const Copy& copy, wal::SegmentSize size) {
  const auto segment = copy.name.segment;
  const auto segno = segment.segno(size);
  if (!options_.verify || segno == 0) return false;
  const wal::SegmentName before(segment.timeline(), segno - 1, size);
  if (target_directory_.find(before.to_string())) return false;
  const auto form = archive::find_finished(archives_.shelf(copy.archive), before);
  return form && form->method != Method::none;
}

/// By hand, the archive's own copy of the segment before is read for the record over the boundary.
/// Decompressing it takes as long as this one: so it is done at the same time, and without
/// comparing its checksums, a tenth of the work.
void SegmentCheck::begin_reading_before(const Copy& copy, wal::SegmentSize size,
                                        wal::Lsn previous_record,
                                        const wal::TimelineHistory* history) {
  const auto segment = copy.name.segment;
  auto& archive = archives_.shelf(copy.archive);
  const auto start = segment.start(size);
  const wal::Lsn page(previous_record.byte() & ~(wal::kPageSize - 1));
  if (page >= start || page + size.bytes() < start) return;
  const auto segno = size.segno(page);
  const wal::SegmentName before(
      history ? archive::timeline_of_segment(*history, segno, size) : segment.timeline(), segno,
      size);
  const auto there = target_directory_.find(before.to_string());
  if (there && there->size == size.bytes()) return;  // the fast way
  if (restored_last_time(size.start_of(page))) return;
  const auto name = archive::find_finished(archive, before);
  if (!name || name->method == Method::none) return;  // raw: read from the required position
  const auto offset = size.offset(page);
  const auto read = [&archive, name = *name, size, offset] {
    std::vector<std::byte> bytes;
    archive::read_segment_from(
        archive, name, size, offset,
        [&](std::span<const std::byte> wal) {
          bytes.insert(bytes.end(), wal.begin(), wal.end());
          return true;
        },
        codec::Checksums::ignored);
    return bytes;
  };
  before_ = Before{before, copy.archive, offset, std::async(std::launch::async, read).share()};
}

/// Reads from the source of begin_reading_before(); nullopt if that is not it.
std::optional<WalSource::Read> SegmentCheck::read_before(wal::SegmentName segment,
                                                         std::uint64_t offset,
                                                         std::span<std::byte> into) {
  if (!before_ || before_->segment != segment || offset < before_->offset) return std::nullopt;
  const std::span<const std::byte> bytes = before_->bytes.get();
  const auto rest = bytes.subspan(std::min<std::uint64_t>(offset - before_->offset, bytes.size()));
  const auto count = std::min(rest.size(), into.size());
  std::copy_n(rest.begin(), count, into.begin());
  return WalSource::Read{count > 0 ? WalSource::State::bytes : WalSource::State::end, count};
}

/// True if the file with the target's name starts like the segment at `start`.
bool SegmentCheck::restored_last_time(wal::Lsn start) {
  const auto entry = target_directory_.find(target_name_);
  if (!entry || entry->type != io::DirectoryEntry::Type::file) return false;
  const auto file = target_directory_.open_bytes(target_name_);
  std::array<std::byte, wal::kLongHeaderSize> front{};
  if (!file || file->read_at(0, front) != front.size()) return false;
  const auto page = wal::decode_page_header(front);
  return page && page->address == start;
}

void SegmentCheck::check_long_record_of(const Fetched& segment, WalSource& content) {
  if (!ends_in_a_long_record(segment)) return;
  const auto timeline = segment.source.segment.timeline();
  const auto size = segment.size;
  const auto history = history_of(timeline, segment.archive);
  const auto result = ask_archives(
      segment.archive, {.segment_size = size, .timeline = timeline, .history = history},
      Agreed::by_one, [&](WalSource& others) {
        return check_long_record(segment, history ? &*history : nullptr, others, content);
      });
  if (result.verdict != SeamVerdict::broken) return;
  throw Error(ErrorKind::damage, "damaged WAL: " + result.damage->what)
      .with("file", archives_.path_of(segment.copy()))
      .with("LSN", result.damage->at)
      .hint(
          "The record spans several segments, including this one, and one of them is damaged. "
          "\"pgweir import --replace-damaged\" replaces them with valid copies; \"pgweir verify\" "
          "shows where the record starts and ends. Without a valid copy, --up-to-damage in "
          "restore_command recovers everything before the record.");
}

}  // namespace weir::restore
