#include "wire/backend_messages.h"

#include "wire/bytes.h"

namespace weir::wire {

namespace {

/// Appends a message's type and, when it ends, its length, which counts itself.
class Message {
 public:
  Message(std::string& out, char type) : out_(out) {
    out_.push_back(type);
    begin_ = out_.size();
    append_u32(out_, 0);
  }
  ~Message() {
    const auto length = out_.size() - begin_;
    for (std::size_t i = 0; i < 4; ++i)
      out_[begin_ + i] = static_cast<char>(length >> (24 - 8 * i) & 0xff);
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  Message& u16(std::uint16_t number) {
    append_u16(out_, number);
    return *this;
  }
  Message& u32(std::uint32_t number) {
    append_u32(out_, number);
    return *this;
  }
  Message& byte(char byte) {
    out_.push_back(byte);
    return *this;
  }
  Message& bytes(std::string_view bytes) {
    out_.append(bytes);
    return *this;
  }
  /// Stops at a zero byte, since the rest would be read as the next field.
  Message& text(std::string_view text) {
    out_.append(text.substr(0, text.find('\0')));
    out_.push_back('\0');
    return *this;
  }

 private:
  std::string& out_;
  std::size_t begin_ = 0;
};

// libpq/protocol.h, of 17; pqcomm.h before
constexpr std::uint32_t kAuthOk = 0;
constexpr std::uint32_t kAuthSasl = 10;
constexpr std::uint32_t kAuthSaslContinue = 11;
constexpr std::uint32_t kAuthSaslFinal = 12;

}  // namespace

void append_error(std::string& out, Severity severity, const ErrorReport& report) {
  const std::string_view word = severity == Severity::error ? "ERROR" : "FATAL";
  Message message(out, 'E');
  message.byte('S').text(word).byte('V').text(word);
  message.byte('C').text(report.sqlstate).byte('M').text(report.message);
  if (!report.detail.empty()) message.byte('D').text(report.detail);
  if (!report.hint.empty()) message.byte('H').text(report.hint);
  message.byte('\0');
}

void append_report(std::string& out, char type, std::span<const ReportField> fields) {
  Message message(out, type);
  for (const auto& field : fields) message.byte(field.letter).text(field.text);
  message.byte('\0');
}

void append_authentication_ok(std::string& out) { Message(out, 'R').u32(kAuthOk); }

void append_sasl_mechanisms(std::string& out, std::span<const std::string_view> mechanisms) {
  Message message(out, 'R');
  message.u32(kAuthSasl);
  for (const auto mechanism : mechanisms) message.text(mechanism);
  message.byte('\0');
}

void append_sasl_continue(std::string& out, std::string_view data) {
  Message(out, 'R').u32(kAuthSaslContinue).bytes(data);
}

void append_sasl_final(std::string& out, std::string_view data) {
  Message(out, 'R').u32(kAuthSaslFinal).bytes(data);
}

void append_negotiate_version(std::string& out, std::uint32_t version,
                              const std::vector<std::string>& unknown_options) {
  Message message(out, 'v');
  message.u32(version).u32(static_cast<std::uint32_t>(unknown_options.size()));
  for (const auto& option : unknown_options) message.text(option);
}

void append_parameter_status(std::string& out, std::string_view name, std::string_view value) {
  Message(out, 'S').text(name).text(value);
}

void append_backend_key(std::string& out, std::uint32_t process, std::uint32_t secret) {
  Message(out, 'K').u32(process).u32(secret);
}

void append_ready(std::string& out) { Message(out, 'Z').byte('I'); }

void append_row_description(std::string& out, std::span<const Column> columns) {
  Message message(out, 'T');
  message.u16(static_cast<std::uint16_t>(columns.size()));
  for (const auto& column : columns)
    message.text(column.name)
        .u32(column.table)
        .u16(column.attribute)
        .u32(column.type)
        .u16(static_cast<std::uint16_t>(column.size))
        .u32(column.modifier)
        .u16(column.format);
}

void append_data_row(std::string& out, std::span<const std::optional<std::string>> values) {
  Message message(out, 'D');
  message.u16(static_cast<std::uint16_t>(values.size()));
  for (const auto& value : values) {
    if (value)
      message.u32(static_cast<std::uint32_t>(value->size())).bytes(*value);
    else
      message.u32(0xffffffff);
  }
}

void append_command_complete(std::string& out, std::string_view tag) {
  Message(out, 'C').text(tag);
}

void append_copy_both(std::string& out) { Message(out, 'W').byte('\0').u16(0); }

void append_copy_out(std::string& out, char format, std::span<const std::uint16_t> columns) {
  Message message(out, 'H');
  message.byte(format).u16(static_cast<std::uint16_t>(columns.size()));
  for (const auto column : columns) message.u16(column);
}

void append_copy_done(std::string& out) { Message(out, 'c'); }

void append_copy_data(std::string& out, std::string_view payload) {
  Message(out, 'd').bytes(payload);
}

void append_copy_data_head(std::string& out, std::size_t payload) {
  out.push_back('d');
  append_u32(out, static_cast<std::uint32_t>(payload + 4));
}

}  // namespace weir::wire
