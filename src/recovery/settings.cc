#include "recovery/settings.h"

namespace weir::recovery {

std::string quoted_setting(std::string_view value) {
  std::string text = "'";
  for (const char c : value) text += c == '\'' || c == '\\' ? std::string(2, c) : std::string(1, c);
  return text + "'";
}

TargetSetting target_setting(const Target& target, wal::Lsn last_record) {
  switch (target.kind) {
    case Target::Kind::lsn:
      return {"recovery_target_lsn", target.lsn.to_string()};
    case Target::Kind::time:
      return {"recovery_target_time", target.time.to_string()};
    case Target::Kind::xid:
      return {"recovery_target_xid", std::to_string(target.xid)};
    case Target::Kind::name:
      return {"recovery_target_name", target.name};
    case Target::Kind::latest:
    case Target::Kind::immediate:
      break;
  }
  return {"recovery_target_lsn", last_record.valid() ? last_record.to_string() : ""};
}

}  // namespace weir::recovery
