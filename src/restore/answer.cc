#include "restore/answer.h"

#include <fmt/format.h>

#include <variant>

#include "base/error.h"

namespace weir::restore {

void Answer::put(std::span<const std::byte> content) {
  Target target(target_directory_, target_name_);
  require_outside(target);
  target.append(content);
  target.publish();
}

Result Answer::absent(const Absence& absence, const std::string& file) const {
  if (const auto* fine = std::get_if<Absent>(&absence)) return {false, fine->why};
  const auto& [what, record] = std::get<Gap>(absence);
  if (options_.gap_is_absence) {
    log_.warning("{} is missing in the archive: {}; reported as absent (--on-gap absent)", file,
                 what);
    return {false, what};
  }
  auto error = Error(ErrorKind::gap, fmt::format("{} is missing in the archive: {}", file, what))
                   .with("directory", archives_.paths());
  if (const auto segment = wal::SegmentName::parse(file);
      segment && archives_.was_uploaded(*segment))
    throw error.hint(
        "Continuing recovery without this file would open the database with data missing. The file "
        "was uploaded to the object store: add --store and its options to the command.");
  if (!record.empty())
    throw error.hint(fmt::format(
        "The archive directory was copied in part, or has lost files: use a complete copy, or add "
        "--store and its options to the command. Only if no copy has the missing files, and the "
        "WAL that they belong to is not wanted, remove {} from the directory.",
        record));
  throw error.hint(
      "Continuing recovery without this file would open the database with data missing. Look "
      "for the file on the server that wrote it (pg_wal) or in another archive, and import it "
      "with \"pgweir import\". To recover everything before the hole and nothing after it, use "
      "--until-gap. For a standby that can stream the missing WAL, use --on-gap absent.");
}

/// Nothing is written into an archive by a restore. Whatever its path is: the hidden file shows.
void Answer::require_outside(const Target& target, std::optional<std::size_t> source) {
  archives_.ask_each([&](std::size_t i) {
    if (options_.first_sound && source && i != *source) return;
    if (archives_.shelf(i).find(target.temporary_name()))
      throw Error(ErrorKind::usage, "the file would be restored into the archive itself")
          .with("directory", archives_.shelf(i).path());
  });
}

void Answer::tell_silence(const std::string& file) {
  for (std::size_t i = 0; i < archives_.count(); ++i)
    if (archives_.silent(i))
      log_.warning("{} was restored without {}, which does not answer: {}", file,
                   archives_.shelf(i).path(), archives_.silence(i)->what());
}

}  // namespace weir::restore
