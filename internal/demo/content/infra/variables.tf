variable "directory" {
  description = "Where the file is to be."
  type        = string
}

variable "words" {
  description = "How many words the shop's name has."
  type        = number
  default     = 2
}
