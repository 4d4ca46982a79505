#include "cli/options/limit_options.h"

namespace weir::cli {

status::Limits read_limits(const Arguments& arguments) {
  return {.max_lag = arguments.get(kMaxLag),
          .max_age = arguments.get(kMaxAge),
          .max_store_age = arguments.get(kMaxStoreAge),
          .max_lag_time = arguments.get(kMaxLagTime),
          .max_outage = arguments.get(kMaxOutage),
          .min_free = arguments.get(kMinFree),
          .min_free_time = arguments.get(kMinFreeTime),
          .max_verify_age = arguments.get(kMaxVerifyAge),
          .max_drill_age = arguments.get(kMaxDrillAge),
          .max_backup_age = arguments.get(kMaxBackupAge)};
}

}  // namespace weir::cli
