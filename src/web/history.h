#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace weir::web {

using SystemTime = std::chrono::system_clock::time_point;

/// A receiver's figures of the last hours and days, and its problems. Bounded: the oldest are
/// dropped. Contains only what is added. Pure; one caller at a time.
class History {
 public:
  /// The state at one time; added every few seconds.
  struct Sample {
    bool streaming = false;
    std::uint64_t archived = 0;  ///< bytes since the receiver's start
    std::optional<std::uint64_t> lag{};
    std::optional<double> p50_ms{};
    std::optional<double> p99_ms{};
    /// Up to where the server has WAL, in bytes from 0/0.
    std::optional<std::uint64_t> server_end{};
  };
  /// The figures of an hour, or of five minutes.
  struct Span {
    std::int64_t begin = 0;  ///< seconds since 1970
    std::uint32_t samples = 0;
    std::uint32_t streaming = 0;  ///< of these
    std::uint32_t holes = 0;      ///< losses that were found
    std::uint64_t bytes = 0;      ///< archived
    std::uint64_t lag = 0;        ///< the worst
    double p50_ms = 0;            ///< the worst; 0: no sync
    double p99_ms = 0;
    std::uint64_t free = 0;  ///< disk space at its end; 0: unknown
    /// Up to where the server had WAL at the last sample that tells; 0: unknown. Of hours only.
    std::uint64_t server_end = 0;
    bool operator==(const Span&) const = default;
  };
  /// What went wrong, or ended. The same again and again is one.
  struct Happened {
    std::int64_t first = 0;
    std::int64_t last = 0;
    std::uint64_t times = 1;
    bool trouble = true;
    std::string text;
    bool operator==(const Happened&) const = default;
  };

  static constexpr std::chrono::seconds kShort{300};
  static constexpr std::chrono::seconds kHour{3600};
  static constexpr std::size_t kShorts = 72;  ///< six hours
  static constexpr std::size_t kHours = std::size_t{14} * 24;
  static constexpr std::size_t kEvents = 60;
  static constexpr std::size_t kLongestText = 400;

  void add(const Sample& sample, SystemTime now);
  void happened(std::string text, bool trouble, SystemTime now);
  void hole_found(SystemTime now);
  /// The server's cluster_name; empty: it has none, or it is unknown: the last one stays.
  void cluster(std::string_view name);
  /// The ID of the archive's file system. If the figures came along with a copy of a directory on
  /// another one, that one's free space says nothing about this disk: it is forgotten.
  void lies_on(std::uint64_t system_id);
  /// Free disk space at that moment, in bytes.
  void space(std::uint64_t free, SystemTime now);

  /// Ascending; spans without samples are left out.
  [[nodiscard]] const std::deque<Span>& shorts() const { return shorts_; }
  [[nodiscard]] const std::deque<Span>& hours() const { return hours_; }
  /// The newest last.
  [[nodiscard]] const std::deque<Happened>& events() const { return events_; }

  [[nodiscard]] const std::string& cluster_name() const { return cluster_name_; }

  /// For a file in the archive directory: at most 80 kB.
  [[nodiscard]] std::string to_text() const;
  /// nullopt if it is not what to_text() writes: then a new one begins.
  [[nodiscard]] static std::optional<History> parse(std::string_view text);

 private:
  std::deque<Span> shorts_;
  std::deque<Span> hours_;
  std::deque<Happened> events_;
  std::string cluster_name_;
  std::optional<std::uint64_t> system_id_;  ///< nullopt: unknown, as in files of earlier versions
  std::uint64_t archived_ = 0;              ///< of the last sample; a receiver begins with 0
};

/// Until no space is free, at the rate of the last day, or of the known part of it, an hour at
/// least; nullopt: unknown, or more than a year. Pure.
[[nodiscard]] std::optional<std::chrono::seconds> full_in(const History& history,
                                                          std::uint64_t free, SystemTime now);

}  // namespace weir::web
