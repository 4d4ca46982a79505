#pragma once

#include "cli/arguments.h"
#include "cli/options/common_options.h"
#include "status/findings.h"

namespace weir::cli {

// Thresholds of the findings that `pgweir status --check` and the pages report.

inline constexpr auto kMaxLag = option_of<size_value>(
    "max-lag", "SIZE", "critical if the archive lags by more than SIZE, such as 64MB");
inline constexpr auto kMaxAge =
    option_of<time_value<>>("max-age", "TIME",
                            "critical if the receiver has received nothing from the server for "
                            "TIME, such as 5min; an idle server sends messages, too");
inline constexpr auto kMaxStoreAge =
    option_of<time_value<>>("max-store-age", "TIME",
                            "critical if a complete segment has been waiting longer than TIME for "
                            "its upload to the object store; for a store alone, if no WAL has "
                            "been uploaded for TIME");
inline constexpr auto kMaxLagTime = option_of<time_value<>>(
    "max-lag-time", "TIME",
    "critical if WAL that the server wrote more than TIME ago is not durable in the archive "
    "(default: a warning, 5min)");
inline constexpr auto kMaxOutage =
    option_of<time_value<>>("max-outage", "TIME",
                            "critical if no WAL has streamed for TIME; a warning before that "
                            "(default: 15min)");
inline constexpr auto kMinFree = option_of<size_value>(
    "min-free", "SIZE",
    "critical if less than SIZE is free (default: no room for a segment; a warning for less than "
    "8)");
inline constexpr auto kMinFreeTime = option_of<time_value<>>(
    "min-free-time", "TIME",
    "critical if the disk will be full within TIME at the rate of the last day (default: a "
    "warning, 6h)");
inline constexpr auto kMaxVerifyAge =
    option_of<time_value<>>("max-verify-age", "TIME",
                            "warning if the last recorded \"pgweir verify\" of the whole archive "
                            "is older than TIME, such as 8d, or none is recorded");
inline constexpr auto kMaxDrillAge =
    option_of<time_value<>>("max-drill-age", "TIME", "the same for \"pgweir drill\", such as 32d");

inline constexpr auto kMaxBackupAge = option_of<time_value<>>(
    "max-backup-age", "TIME",
    "warning if the newest base backup that counts began more than TIME ago, such as 26h, or none "
    "counts");

inline constexpr Option kLimits[] = {kMaxLag,      kMaxLagTime,  kMaxOutage,   kMaxAge,
                                     kMaxStoreAge, kMinFree,     kMinFreeTime, kMaxVerifyAge,
                                     kMaxDrillAge, kMaxBackupAge};

[[nodiscard]] status::Limits read_limits(const Arguments& arguments);

}  // namespace weir::cli
