#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "base/log.h"
#include "io/directory.h"
#include "restore/absence.h"
#include "restore/archives.h"
#include "restore/options.h"
#include "restore/result.h"
#include "restore/target.h"

namespace weir::restore {

/// How one request is answered: by a file in its place or by an absence, with log messages. Does
/// not own its arguments. One thread.
class Answer {
 public:
  Answer(Archives& archives, io::Directory& target_directory, const std::string& target_name,
         const Options& options, Log& log)
      : archives_(archives),
        target_directory_(target_directory),
        target_name_(target_name),
        options_(options),
        log_(log) {}

  [[nodiscard]] const Options& options() const { return options_; }
  [[nodiscard]] Log& log() const { return log_; }

  /// A file as a whole.
  void put(std::span<const std::byte> content);
  /// Throws Error{usage} if the target is in one of the archives; with --first-valid, only `source`
  /// is checked, if the file comes from a single one.
  void require_outside(const Target& target, std::optional<std::size_t> source = std::nullopt);
  /// Throws Error{gap} for a gap, unless gaps are reported as absence.
  [[nodiscard]] Result absent(const Absence& absence, const std::string& file) const;
  /// Warns of archives that did not answer, though another one had the file.
  void tell_silence(const std::string& file);

 private:
  Archives& archives_;
  io::Directory& target_directory_;
  const std::string& target_name_;
  const Options& options_;
  Log& log_;
};

}  // namespace weir::restore
